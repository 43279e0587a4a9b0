"""Photos as cameras, scanners and editors write them: read right, or refused with `UnreadableImage`."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from attar.data import images
from attar.data.color import PRIMARIES, matrix_profile
from attar.data.images import UnreadableImage, open_photo, read_rgb, use_rgb

SIZE = (24, 16)  # width, height
P3 = matrix_profile(PRIMARIES[12])
GENTLE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def gradient() -> np.ndarray:
    """A smooth colour picture, so that lossy formats keep it within a few levels."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    return np.stack([x * 10, y * 15, 255 - x * 5 - y * 5], axis=2).astype(np.uint8)


def encoded(file_format: str, image: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(gradient())).save(stream, file_format, **options)
    return stream.getvalue()


def read(folder: Path, data: bytes, name: str = "photo.jpg", **options: int) -> np.ndarray:
    path = folder / name
    path.write_bytes(data)
    image = read_rgb(path, **options)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize(("file_format", "tolerance"), [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("PPM", 0), ("WEBP", 8)])
def test_plain_formats(tmp_path: Path, file_format: str, tolerance: int) -> None:
    options = {"quality": 95} if file_format == "WEBP" else {}
    pixels = read(tmp_path, encoded(file_format, **options)).astype(int)
    assert np.abs(pixels - gradient()).mean() <= tolerance


def test_cmyk_jpeg(tmp_path: Path) -> None:
    cmyk = Image.fromarray(gradient()).convert("CMYK")
    pixels = read(tmp_path, encoded("JPEG", cmyk, quality=100, subsampling=0)).astype(int)
    assert np.abs(pixels - gradient()).max() <= 12


@pytest.mark.parametrize(("side", "size"), [(400, (832, 624)), (312, (416, 312)), (157, (416, 312)), (10, (104, 78))])
def test_a_reduced_jpeg_is_no_smaller_than_asked_for(tmp_path: Path, side: int, size: tuple[int, int]) -> None:
    path = tmp_path / "a.jpg"
    x, y = np.meshgrid(np.arange(832), np.arange(624))
    waves = np.stack([np.sin(x / 9), np.cos(y / 11), np.sin((x + y) / 15)], axis=2)
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.fromarray((waves * 100 + 128).astype(np.uint8)).save(path, quality=90, exif=exif)
    whole, reduced = read_rgb(path), read_rgb(path, side=side)
    assert reduced.size == size[::-1] and whole.size == (624, 832)
    small = (78, 104)
    pixels = (np.asarray(image.resize(small, Image.Resampling.BICUBIC)).astype(int) for image in (whole, reduced))
    assert np.abs(np.subtract(*pixels)).mean() < 2


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_other_formats_come_whole(tmp_path: Path, file_format: str) -> None:
    Image.new("CMYK" if file_format == "TIFF" else "RGB", (64, 64)).save(tmp_path / "a", file_format)
    assert read_rgb(tmp_path / "a", side=4).size == (64, 64)


def test_a_reduced_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    image = read_rgb(tmp_path / "a.jpg", side=16)
    assert image.size == (16, 16) and image.getpixel((8, 8)) == read_rgb(tmp_path / "a.jpg").getpixel((8, 8))


@pytest.mark.parametrize(("file_format", "name"), [("PNG", "a.png"), ("TIFF", "a.tif"), ("PPM", "a.pgm")])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, file_format: str, name: str) -> None:
    values = np.linspace(0, 65535, 24 * 16).reshape(16, 24).astype(np.uint16)
    pixels = read(tmp_path, encoded(file_format, Image.fromarray(values)), name)
    expected = np.round(values / 257).astype(np.uint8)
    assert np.abs(pixels.astype(int) - expected[..., None]).max() <= 1
    assert pixels.max() == 255 and pixels.min() == 0


def test_16_bit_big_endian_tiff(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 24 * 16).reshape(16, 24).astype(np.uint16)
    image = Image.frombytes("I;16B", (24, 16), values.astype(">u2").tobytes())
    pixels = read(tmp_path, encoded("TIFF", image), "a.tif")
    assert np.abs(pixels[..., 0].astype(int) - np.round(values / 257)).max() <= 1


def test_16_bit_colour_png(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).astype(">u2").tobytes() for row in gradient())
    pixels = read(tmp_path, png_of(*SIZE, 16, 2, zlib.compress(rows)), "a.png")
    assert np.array_equal(pixels, gradient())


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_an_8_bit_meaning_are_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(UnreadableImage, match="pixels"):
        read(tmp_path, encoded("TIFF", Image.new(mode, SIZE, 1)), "a.tif")


def test_palette_with_transparency_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    pixels = read(tmp_path, encoded("PNG", image, transparency=0), "a.png")
    assert pixels.tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_alpha_lies_over_white(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[[100, 255], [100, 0], [100, 128]]], dtype=np.uint8), "LA")
    assert [p[0] for p in read(tmp_path, encoded("PNG", grey), "a.png")[0].tolist()] == [100, 255, 177]
    colour = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8), "RGBA")
    assert read(tmp_path, encoded("PNG", colour), "a.png").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    assert read(tmp_path, encoded("PNG", image, transparency=(1, 2, 3)), "a.png").tolist() == [[[255] * 3, [4, 5, 6]]]


def test_one_bit_and_grey(tmp_path: Path) -> None:
    bits = np.array([[True, False, True]])
    assert read(tmp_path, encoded("PNG", Image.fromarray(bits)), "a.png").tolist() == [[[255] * 3, [0] * 3, [255] * 3]]
    grey = np.array([[7, 77, 177]], dtype=np.uint8)
    assert read(tmp_path, encoded("PNG", Image.fromarray(grey)), "a.png").tolist() == [[[7] * 3, [77] * 3, [177] * 3]]


def test_lab_tiff(tmp_path: Path) -> None:
    lab = Image.merge("LAB", [Image.new("L", SIZE, level) for level in (255, 128, 128)])
    assert read(tmp_path, encoded("TIFF", lab), "a.tif").min() >= 250  # L* = 100 is white


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: np.asarray,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded("PNG", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.array_equal(read(tmp_path, data, "a.png"), gradient())


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    for file_format, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = encoded(file_format, frames[0], save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(read(tmp_path, data), np.full((16, 24, 3), (255, 0, 0)))


# --- what cannot be read -------------------------------------------------------------------------


def png_of(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_huge_dimensions_are_refused_without_decoding(tmp_path: Path, side: int) -> None:
    with pytest.raises(UnreadableImage, match="megapixels"):
        read(tmp_path, png_of(side, side, 8, 2, zlib.compress(b"")), "a.png")


def test_pixel_limit_is_inclusive(tmp_path: Path) -> None:
    assert read(tmp_path, encoded("PNG"), max_pixels=24 * 16).shape == (16, 24, 3)
    with pytest.raises(UnreadableImage):
        read(tmp_path, encoded("PNG"), max_pixels=24 * 16 - 1)


def test_extreme_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="times the other"):
        read(tmp_path, encoded("PNG", Image.new("RGB", (2, 300))))


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty file"), (b"This is no photo.\n", "not an image"), (b"\xff\xd8\xff\xe0", "damaged|not an image")],
)
def test_not_images(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read(tmp_path, data)


def test_heic_is_read_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    images.open_image(io.BytesIO(encoded("PNG")))  # registers the formats
    data = encoded("HEIF", quality=95, chroma=444)
    assert np.abs(read(tmp_path, data, "photo.heic").astype(int) - gradient()).mean() <= 3
    with pytest.raises(UnreadableImage, match="not a HEIC photo, or a damaged one"):
        read(tmp_path, b"\0\0\0\x18ftypheic" + bytes(32), "photo.heic")


def test_heic_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(32))
    code = (
        "import sys; from pathlib import Path; sys.modules['pillow_heif'] = None;"
        "from attar.data.images import read_rgb; read_rgb(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "photo.heic")], capture_output=True, text=True)
    assert "pip install 'attar[heic]', or convert it to JPEG" in done.stderr


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="no such file"):
        read_rgb(tmp_path / "absent.jpg")
    with pytest.raises(UnreadableImage, match="cannot be opened"):
        read_rgb(tmp_path)


VALID = {
    "JPEG": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "PNG": encoded("PNG"),
    "GIF": encoded("GIF"),
    "WEBP": encoded("WEBP"),
    "TIFF": encoded("TIFF", compression="tiff_lzw"),
    "BMP": encoded("BMP"),
    "PPM": encoded("PPM"),
}


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "BMP", "PPM", "WEBP"])
@given(share=st.floats(0, 0.9))
@GENTLE
def test_cut_short(tmp_path: Path, kind: str, share: float) -> None:
    try:
        pixels = read(tmp_path, VALID[kind][: int(len(VALID[kind]) * share)])
    except UnreadableImage:
        return
    # What was lost came after the last pixel.
    assert share > 0.5 and np.array_equal(pixels, read(tmp_path, VALID[kind]))


def readable_or_refused(folder: Path, data: bytes) -> None:
    try:
        pixels = read(folder, data)
    except UnreadableImage as error:
        assert str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and min(pixels.shape) > 0


@given(data=st.binary(max_size=400), start=st.sampled_from([value[:12] for value in VALID.values()] + [b""]))
@GENTLE
def test_random_bytes_never_raise_anything_else(tmp_path: Path, data: bytes, start: bytes) -> None:
    readable_or_refused(tmp_path, start + data)


@pytest.mark.parametrize("kind", VALID)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
@GENTLE
def test_random_damage_never_raises_anything_else(tmp_path: Path, kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(VALID[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    readable_or_refused(tmp_path, bytes(data))


def test_reading_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    import warnings
    from concurrent.futures import ThreadPoolExecutor

    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: read_rgb(tmp_path / "a.png"), range(200)))
    assert warnings.filters == before


def test_matches_pillow_on_a_photo_with_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("JPEG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(read(tmp_path, data), np.asarray(upright))


def test_only_the_formats_that_are_meant_are_opened_whatever_a_file_is_called(tmp_path: Path) -> None:
    """An EPS file would go to Ghostscript, a program that runs what the file says."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%Pages: 1\n%%EndComments\n"
        b"%%Page: 1 1\n0 0 20 20 rectfill\nshowpage\n%%EOF\n"
    )
    with Image.open(path) as image:
        assert image.format == "EPS"  # Pillow alone would take it
    with pytest.raises(UnreadableImage, match="not an image"):
        read_rgb(path)


@pytest.mark.parametrize("format", ["PCX", "TGA", "ICO", "SGI", "DDS", "IM"])
def test_other_formats_of_pillow_are_no_photos(format: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (32, 32)).save(path, format)
    with pytest.raises(UnreadableImage, match="not an image"):
        read_rgb(path)


def test_sound_pixels_with_damaged_exif_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 4), (10, 20, 30)).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    assert read_rgb(path).size == (8, 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_in_strips_is_transparency_at_once(mode: str, tmp_path: Path, monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (37, 23, 4), dtype=np.uint8), "RGBA")
    options = {}
    if mode == "P":
        image, options = image.convert("RGB").quantize(16), {"transparency": 3}
    elif mode == "LA":
        image = image.convert("LA")
    image.save(tmp_path / "a.png", **options)
    whole = np.asarray(read_rgb(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as reread:
        rgba = reread.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    assert np.array_equal(whole, np.asarray(expected))
    monkeypatch.setattr(images, "STRIP", 50)
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "a.png")), whole)


def test_threads_wait_for_room_before_they_decode(tmp_path: Path, monkeypatch: Any) -> None:
    Image.new("RGBA", (100, 100)).save(tmp_path / "a.png")
    with open_photo(tmp_path / "a.png", None) as stream, images.open_image(stream) as image:
        memory = images._Memory(3 * images._bytes_of(image))  # room for three
    monkeypatch.setattr(images, "_MEMORY", memory)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: use_rgb(lambda image: image.size, tmp_path / "a.png"), range(40)))
    assert sizes == [(100, 100)] * 40
    assert memory.used == 0 and 0 < memory.peak <= memory.total
    monkeypatch.setattr(images, "_MEMORY", images._Memory(1))
    assert use_rgb(lambda image: image.size, tmp_path / "a.png") == (100, 100), "one photo alone is always read"


MEASURED = """
import os, sys
from pathlib import Path
from attar.data.images import _bytes_of, open_image, open_photo, read_rgb
from attar.benchmarks.latency.cold_start import peak_memory, reset_peak
for path in map(Path, sys.argv[1:]):
    with open_photo(path, None) as stream, open_image(stream) as image:
        said = _bytes_of(image)
    if os.fork() == 0:  # what an earlier photo left to the allocator would count as there before
        before = reset_peak()
        read_rgb(path)
        print(path.name, said, peak_memory() - before, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
def test_large_photos_take_what_is_said_of_them(tmp_path: Path) -> None:
    """Version 0.1 said 3 bytes per pixel of plain RGB, which took 8, and of JPEG 2000, which takes 20."""
    side = 1000
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 4), np.uint8)
    image = Image.fromarray(np.kron(noise, np.ones((8, 8, 1), np.uint8)))
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb, grey = image.convert("RGB"), image.convert("L")
    saved: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.jpg": (rgb, {}),
        "turned.jpg": (rgb, {"exif": turned}),
        "progressive.jpg": (rgb, {"progressive": True, "subsampling": 0}),
        "cmyk.jpg": (image.convert("CMYK"), {}),
        "transparent.png": (image, {}),
        "grey.png": (grey, {"transparency": 3}),
        "palette.png": (rgb.convert("P"), {}),
        "la.png": (image.convert("LA"), {}),
        "bits.png": (image.convert("1"), {}),
        "transparent.jp2": (image, {}),
        "grey16.png": (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), {}),
        "plain.webp": (rgb, {}),
        "transparent.webp": (image, {}),
        "transparent.avif": (image, {}),
        "plain.gif": (rgb, {}),
        "lab.tif": (rgb.convert("LAB"), {}),
        "lzw.tif": (rgb, {"compression": "tiff_lzw"}),
        "plain.heic": (rgb, {}),
        "transparent.heic": (image, {}),
        "p3.jpg": (rgb, {"icc_profile": P3}),
        "p3.png": (image, {"icc_profile": P3}),
        "p3.heic": (rgb, {"icc_profile": P3}),
    }
    images.open_image(io.BytesIO(encoded("PNG")))  # registers HEIF
    for name, (picture, options) in saved.items():
        picture.save(tmp_path / name, **options)
    command = [sys.executable, "-c", MEASURED, *(str(tmp_path / name) for name in saved)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    memory = {name: (int(said), int(took)) for name, said, took in map(str.split, out.stdout.splitlines())}
    assert memory.keys() == saved.keys()
    assert all(3 * side * side < took <= said for said, took in memory.values()), memory


def test_a_photo_that_would_take_too_much_memory_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "a.jp2")
    assert read_rgb(tmp_path / "a.jp2").size == (100, 100)
    monkeypatch.setattr(images, "MAX_BYTES", 100 * 100 * 20)
    with pytest.raises(UnreadableImage, match=r"decoding it would take .* GB"):
        read_rgb(tmp_path / "a.jp2")
