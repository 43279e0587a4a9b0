"""Contents of old releases are removed, and nothing that is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from attar.deploy.release.folder import POINTER, PRUNED, ReleaseFolder
from attar.deploy.release.keys import create
from attar.deploy.release.prune import prune
from attar.deploy.release.publish import change, rollback, status
from attar.deploy.release.publish import publish as publish_all
from attar.errors import InputError
from helpers import warm
from helpers.published import exports, seen

publish = partial(publish_all, web=False, without_gate=True)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return create(tmp_path / "keys" / "one.pem").path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site" / "models"


def made(tmp_path: Path, name: str) -> Path:
    """An exports folder whose only file holds its name."""
    place = tmp_path / name / "exports"
    return place if place.exists() else exports(place, {"onnx:fp32": name.encode()})


def publish_each(tmp_path: Path, folder: Path, key: Path, names: str) -> None:
    for name in names:
        publish(made(tmp_path, name), folder, key)


def contents(folder: Path) -> str:
    """Which models are there."""
    texts = (path.read_bytes() for path in (folder / "files").iterdir())
    return "".join(sorted(text.decode() for text in texts if len(text) == 1))


def test_the_last_states_stay_and_so_does_the_history(tmp_path: Path, folder: Path, key: Path) -> None:
    publish_each(tmp_path, folder, key, "abcdef")
    seen_before = prune(folder, 2, dry_run=True)
    assert contents(folder) == "abcdef" and not (folder / PRUNED).exists()
    done = prune(folder, 2)
    assert done == seen_before and contents(folder) == "def"
    assert len(done.releases) == 3 and len(done.files) == 3 + 3  # each has a manifest of its own
    assert [each.pointer.number for each in ReleaseFolder(folder).chain()] == [1, 2, 3, 4, 5, 6]
    assert seen(folder) == (6, {"stable": {"onnx:fp32": "f"}})
    assert status(folder)[0].number == 6
    assert prune(folder, 2).files == () and "f" in contents(folder)
    publish_each(tmp_path, folder, key, "g")
    assert status(folder)[0].number == 7


def test_rollbacks_work_as_far_as_files_are_kept(tmp_path: Path, folder: Path, key: Path) -> None:
    """Changes of another channel and of keys do not push what stable had before out of reach."""
    publish_each(tmp_path, folder, key, "abc")
    for name in "xyz":
        publish(made(tmp_path, name), folder, key, channel="beta", share=0.1)
    spare = create(tmp_path / "keys" / "two.pem")
    change(folder, key, trust=[spare.path.with_suffix(".json")])
    prune(folder, 1)
    assert contents(folder) == "bcyz"
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": {"onnx:fp32": "b"}, "beta": {"onnx:fp32": "z"}}
    with pytest.raises(InputError, match=r"removed by `attar releases --prune`\. Publish that run again"):
        rollback(folder, key)
    assert rollback(folder, key, channel="beta").pointer.number == 9
    with pytest.raises(InputError, match="removed by"):
        rollback(folder, key, to=1)
    assert seen(folder)[0] == 9 and status(folder)[0].number == 9


def test_after_a_rollback_the_one_further_back_stays(tmp_path: Path, folder: Path, key: Path) -> None:
    publish_each(tmp_path, folder, key, "abc")
    rollback(folder, key)
    for _ in range(3):
        change(folder, key, trust=[create(tmp_path / "keys" / f"{_}.pem").path.with_suffix(".json")])
    prune(folder, 1)
    assert contents(folder) == "ab"
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": {"onnx:fp32": "a"}}


def test_a_pruned_release_that_is_published_again_is_whole_and_missed(tmp_path: Path, folder: Path, key: Path) -> None:
    publish_each(tmp_path, folder, key, "abc")
    prune(folder, 1)
    publish_each(tmp_path, folder, key, "a")
    assert contents(folder) == "abc" and seen(folder)[1] == {"stable": {"onnx:fp32": "a"}}
    [path] = [each for each in (folder / "files").iterdir() if each.read_bytes() == b"a"]
    path.unlink()
    for act in (lambda: status(folder), lambda: prune(folder), lambda: rollback(folder, key)):
        with pytest.raises(InputError, match=path.name):
            act()


def test_what_is_missing_or_changed_without_being_pruned_is_named(tmp_path: Path, folder: Path, key: Path) -> None:
    publish_each(tmp_path, folder, key, "abcd")
    prune(folder, 2)
    [old] = [each for each in (folder / "files").iterdir() if each.read_bytes() == b"c"]
    old.write_bytes(b"?")
    for act in (lambda: status(folder), lambda: prune(folder, 1)):
        with pytest.raises(InputError, match=old.name):
            act()
    assert contents(folder) == "?bd", "nothing goes from a folder that is damaged"
    old.unlink()
    with pytest.raises(InputError, match=f"{old.name}: .* is missing"):
        status(folder)


def test_only_what_attar_wrote_goes(tmp_path: Path, folder: Path, key: Path) -> None:
    publish_each(tmp_path, folder, key, "ab")
    (folder / "files" / "notes.txt").write_text("mine")
    (folder / "files" / ("0" * 64)).write_text("of a publisher that was killed")
    (folder / "README.md").write_text("mine")
    assert prune(folder).files == ("0" * 64,)
    assert contents(folder) == "ab" and (folder / "files" / "notes.txt").exists() and (folder / "README.md").exists()
    (folder / PRUNED).write_text('{"releases": ["no digest"], "schema": 1}')
    with pytest.raises(InputError, match=f"{PRUNED}: not what attar writes"):
        prune(folder)
    (folder / PRUNED).unlink()
    (folder / PRUNED).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it is a link"):
        prune(folder)
    with pytest.raises(InputError, match="nothing was published"):
        prune(tmp_path / "none")


def die_at(step: int, folder: Path) -> None:
    """Prune in a process that ends before it removes its file number `step`."""
    removing, steps = Path.unlink, iter(range(1000))

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "files" and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        removing(path, missing_ok)

    Path.unlink = unlink  # type: ignore[method-assign,assignment]
    prune(folder, 1)


def test_killed_at_any_file_nothing_that_is_named_goes(tmp_path: Path, folder: Path, key: Path) -> None:
    publish_each(tmp_path, folder, key, "abcde")
    whole = len(prune(folder, 1, dry_run=True).files)
    context = multiprocessing.get_context("fork")
    for left in range(whole, -1, -1):  # the first dies before it removes a file, each of the others after one
        process = context.Process(target=die_at, args=(0 if left == whole else 1, folder))
        process.start()
        process.join()
        assert process.exitcode == (-signal.SIGKILL if left else 0)
        assert len(prune(folder, 1, dry_run=True).files) == left
        assert seen(folder) == (5, {"stable": {"onnx:fp32": "e"}}) and status(folder)[0].number == 5
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": {"onnx:fp32": "d"}}


def test_the_command(tmp_path: Path, folder: Path, key: Path) -> None:
    def attar(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(warm.attar("releases", folder, *words), capture_output=True, text=True)

    publish_each(tmp_path, folder, key, "abcdefgh")
    looked = attar("--prune", "--dry-run", "--json")
    told = json.loads(looked.stdout)
    assert told["pruned"]["dry_run"] and len(told["pruned"]["files"]) == 4 and told["number"] == 8
    assert "Would remove 4 contents" in looked.stderr and contents(folder) == "abcdefgh"
    assert "Removed 4 contents" in attar("--prune").stderr and contents(folder) == "cdefgh"
    assert json.loads(attar("--prune", "--keep", 2, "--json").stdout)["number"] == 8
    assert contents(folder) == "fgh" and (folder / POINTER).exists()
    refused = attar("--keep", 2)
    assert refused.returncode == 2 and "for --prune" in refused.stderr
