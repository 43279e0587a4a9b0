"""The folder of an app: which files it holds, and that it is whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from attar.benchmarks.latency import record
from attar.deploy.app.choose import choose
from attar.deploy.app.icons import APPLE, SIZES, icons
from attar.deploy.app.site import INDEX, SITE, WORKER, write_site
from attar.errors import InputError
from attar.export.manifest import read_manifest
from attar.files import sha256
from helpers.command import in_process

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("installed")]


def targets(exports: Path, target: str | None = None) -> list[str]:
    return [entry.target for entry in choose(read_manifest(exports), exports, target)]


def timed(exports: Path, target: str, milliseconds: float) -> record.Record:
    entry = next(entry for entry in read_manifest(exports).files if entry.target == target)
    return record.Record(
        target=target,
        file=entry.file,
        sha256=entry.sha256,
        bytes=entry.bytes,
        runtime={"name": "LiteRT", "version": "1"},
        device={"kind": record.HOST},
        threads=1,
        measured="2026-11-01T00:00:00+00:00",
        warmup=1,
        samples=(int(1e6 * milliseconds),) * 10,
        load=(1,),
        first=(1,),
        peak_memory=None,
        partitions=None,
    )


def test_the_smallest_file_is_taken_and_the_fastest_where_all_were_timed(exports: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(exports, tmp_path / "run" / "exports"))
    assert targets(own) == ["litert:int8", "onnx:int8"]
    record.append([timed(own, "litert:fp32", 1.0)], own.parent)
    assert targets(own)[0] == "litert:int8", "the other was not timed"
    record.append([timed(own, "litert:int8", 2.0)], own.parent)
    assert targets(own) == ["litert:fp32", "onnx:int8"]
    assert targets(own, "onnx:int8") == ["onnx:int8", "litert:fp32"]
    with pytest.raises(InputError, match=r"no file of litert:int9 .* Did you mean"):
        targets(own, "litert:int9")


def test_a_site_lists_every_file_and_links_to_none_elsewhere(written: Path) -> None:
    about = json.loads((written / SITE).read_text())
    here = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert here == {*about["files"], SITE, WORKER, INDEX}
    assert all(sha256(written / name) == digest for name, digest in about["files"].items())
    assert (written / WORKER).read_text().count(sha256(written / SITE)) == 1
    assert sum((written / name).stat().st_size for name in here if "/" not in name and name.endswith(".js")) < 200_000
    for name in here:
        if "/" not in name and name.endswith((".js", ".html", ".css", ".webmanifest")):
            assert "://" not in (written / name).read_text(), name
    installable = json.loads((written / "app.webmanifest").read_text())
    assert {icon["src"] for icon in installable["icons"]} == {*SIZES} and APPLE[0] in icons()


def test_it_may_send_to_the_server_that_it_names_and_to_no_other(exports: Path, written: Path, tmp_path: Path) -> None:
    def allowed(folder: Path) -> str:
        return (folder / INDEX).read_text().partition("connect-src ")[2].partition(";")[0]

    write_site(exports, tmp_path / "site", collect="https://plants.example/in/")
    assert allowed(tmp_path / "site") == "'self' https://plants.example/in/" and allowed(written) == "'self'"
    assert json.loads((tmp_path / "site" / SITE).read_text())["collect"] == "https://plants.example/in"
    for address, words in [
        ("http://plants.example", "https:// only"),
        ("https://plants.example; script-src *", "not a server's address"),
        ("plants.example", "not a server's address"),
    ]:
        with pytest.raises(InputError, match=words):
            write_site(exports, tmp_path / "other", collect=address)
    assert not (tmp_path / "other").exists()


def test_whose_work_it_is_stands_there_in_full(written: Path) -> None:
    text = (written / "LICENSES.txt").read_text()
    for part in ("attar 0", "@litertjs/core 2", "onnxruntime-web 1", "idb 8", "fflate 0"):
        assert f"\n{part}" in f"\n{text}", part
    for words in ("Apache License", "Copyright (c) Microsoft Corporation", "Jake Archibald", "Arjun Barrett"):
        assert words in text, words


def test_a_space_has_its_configuration_and_its_large_files(exports: Path, written: Path, tmp_path: Path) -> None:
    write_site(exports, tmp_path / "space", name='"Plants": yes', space=True)
    _, head, _ = (tmp_path / "space" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(head)
    assert (about["title"], about["sdk"], about["app_file"]) == ('"Plants": yes', "static", INDEX)
    assert about["custom_headers"]["cross-origin-embedder-policy"] == "require-corp"
    kept = (tmp_path / "space" / ".gitattributes").read_text()
    assert all(f"*{suffix} filter=lfs" in kept for suffix in (".tflite", ".onnx", ".wasm", ".png"))
    assert not (written / "README.md").exists()


def test_an_app_is_replaced_and_anything_else_is_left_alone(exports: Path, site: Path, tmp_path: Path) -> None:
    assert write_site(exports, site, name="Second").models == ("litert:int8", "onnx:int8")
    assert json.loads((site / SITE).read_text())["name"] == "Second"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no app of attar's"):
        write_site(exports, mine)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["litert-int8.tflite", "golden/golden.json"])
def test_what_changed_since_it_was_verified_is_no_app(exports: Path, tmp_path: Path, name: str) -> None:
    own = Path(shutil.copytree(exports, tmp_path / "exports"))
    content = bytearray((own / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own / name).write_bytes(bytes(content))
    with pytest.raises(InputError, match="changed"):
        write_site(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    attar = in_process(monkeypatch, capfd)
    code, out, err = attar("app", exports, "-o", tmp_path / "out", "--json")
    told = json.loads(out)
    assert code == 0 and told["models"] == ["litert:int8", "onnx:int8"] and told["own"] < 200_000
    assert "litert:int8, then onnx:int8" in err
    code, _, err = attar("app", tmp_path / "nowhere", "-o", tmp_path / "other")
    assert code == 2 and "manifest.json" in err and not (tmp_path / "other").exists()
