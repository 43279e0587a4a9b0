"""Photos of strangers: what is kept has their pixels and nothing else, and a hostile one harms only itself."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.data.images import UnreadableImage, read_rgb
from attar.deploy.collect import cleaning
from attar.deploy.collect.cleaning import Cleaner
from helpers.observed import jpeg
from helpers.pictures import draw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SECRETS = (b"SN-123456", b"Ana Example", b"48.137")


@pytest.fixture(scope="module")
def cleaner() -> Iterator[Cleaner]:
    with Cleaner(2) as cleaner:
        yield cleaner


def picture(side: int = 96) -> Image.Image:
    return draw("circle", 3).convert("RGB").resize((side, side * 3 // 4))


def save_with_secrets(path: Path, format: str, **more: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = SECRETS[1].decode()
    exif.get_ifd(0x8769)[0xA431] = SECRETS[0].decode()
    exif.get_ifd(0x8825)[0x001D] = SECRETS[2].decode()
    picture().save(path, format, exif=exif, comment=SECRETS[1], xmp=b"<x>" + SECRETS[2] + b"</x>", **more)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_what_is_kept_has_the_pixels_and_no_metadata(cleaner: Cleaner, tmp_path: Path, format: str) -> None:
    path = tmp_path / "photo"
    save_with_secrets(path, format)
    sent = path.read_bytes()
    assert any(secret in sent or secret in _unpacked(sent) for secret in SECRETS)
    kept = cleaner.clean(path)
    assert not any(secret in kept for secret in SECRETS) and b"Exif" not in kept and b"http" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        assert image.format == "JPEG" and image.size == (72, 96)  # upright
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        got = np.asarray(image.convert("RGB"), np.float64)
    assert np.abs(got - np.asarray(read_rgb(path), np.float64)).mean() < 3


def _unpacked(content: bytes) -> bytes:
    """The compressed texts of a PNG."""
    found = b""
    for start in range(len(content)):
        if content[start : start + 1] == b"\x78":
            try:
                found += zlib.decompressobj().decompress(content[start:])
            except zlib.error:
                continue
    return found


def test_what_is_no_photo_is_refused_in_words(cleaner: Cleaner, tmp_path: Path) -> None:
    generator = random.Random(0)
    good = io.BytesIO()
    picture().save(good, "JPEG")
    for number in range(40):
        content = bytearray(good.getvalue())
        for _ in range(generator.randint(1, 40)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(content[: generator.randint(0, len(content))])
        try:
            kept = cleaner.clean(path)
        except UnreadableImage as error:
            assert str(error)
            continue
        Image.open(io.BytesIO(kept)).verify()


def test_too_many_pixels_are_refused_before_they_are_decoded(cleaner: Cleaner, tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    with pytest.raises(UnreadableImage, match="limit of 50 megapixels"):
        cleaner.clean(tmp_path / "bomb.png")


def _hang(path: str) -> bytes:
    import signal

    if "bad" in path:
        signal.raise_signal(signal.SIGKILL)
    return b"fine"


def test_a_process_that_dies_costs_its_photo_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "_cleaned", _hang)
    with Cleaner(2) as cleaner, ThreadPoolExecutor(2) as pool:
        bad = pool.submit(cleaner.clean, tmp_path / "bad")
        with pytest.raises(UnreadableImage, match="crashed"):
            bad.result()
        assert cleaner.clean(tmp_path / "good") == b"fine"


def confined(code: str) -> subprocess.CompletedProcess[str]:
    """Code in a process like those that decode."""
    begin = "from attar.deploy.collect import cleaning; cleaning._confine(); "
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", begin + code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.skipif(sys.platform != "linux", reason="its memory is bounded on Linux only")
def test_a_decoding_process_has_bounds_of_memory_and_time() -> None:
    assert "MemoryError" in confined("bytearray(cleaning.MEMORY)").stderr
    endless = "cleaning.SECONDS = 0.2; cleaning.read_rgb = lambda *_, **__: exec('while True: pass'); "
    assert confined(endless + "cleaning._cleaned('photo')").returncode == -signal.SIGALRM


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_decoders_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(jpeg(1))
    program = f"""
if __name__ == "__main__":
    import os, signal
    from pathlib import Path
    from attar.deploy.collect.cleaning import Cleaner

    with Cleaner(2) as cleaner:
        cleaner.clean(Path({str(path)!r}))
        os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "server.py").write_text(program)
    # The decoders hold the pipe too: it is read to its end only once they are gone.
    done = subprocess.run([sys.executable, tmp_path / "server.py"], capture_output=True, timeout=600, cwd=ROOT)
    assert done.returncode == -9
