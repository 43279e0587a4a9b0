"""Release folders: published, taken back, changed by hand, killed, and written by two at once."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from attar.deploy.release.envelope import opened, signed
from attar.deploy.release.folder import POINTER, ReleaseFolder
from attar.deploy.release.keys import PrivateKey, PublicKey, create
from attar.deploy.release.publish import change, rollback, status
from attar.deploy.release.publish import publish as publish_all
from attar.errors import GateError, InputError
from attar.files import sha256
from helpers import warm
from helpers.published import decide, exports, seen

KILLS = int(os.environ.get("ATTAR_DEATHS", "12"))

publish = partial(publish_all, web=False)
"""The files of these tests are no models that a browser could run; tests/deploy/app/test_updates.py has such ones."""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return create(tmp_path / "keys" / "one.pem").path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site" / "models"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return exports(tmp_path / "first" / "exports", {"litert:int8": b"one", "onnx:fp32": b"eins"})


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return exports(tmp_path / "second" / "exports", {"litert:int8": b"two", "onnx:fp32": b"zwei"})


ONE = {"litert:int8": "one", "onnx:fp32": "eins"}
TWO = {"litert:int8": "two", "onnx:fp32": "zwei"}


def test_a_release_has_all_that_a_phone_needs_under_the_names_of_its_contents(first: Path, folder: Path, key: Path):
    done = publish(first, folder, key, app="garden")
    assert (done.pointer.number, done.pointer.app, done.new) == (1, "garden", True)
    assert seen(folder) == (1, {"stable": ONE})
    pointer, releases = status(folder)
    names = {file.name for file in releases["stable"].files}
    assert names == {"manifest.json", "labels.json", "golden/golden.json", "litert-int8.tflite", "onnx-fp32.onnx"}
    assert not [path for path in folder.rglob("*") if path.name.startswith(".tmp")]
    assert pointer.keys[0]["crv"] == "P-256"
    assert oct(folder.stat().st_mode)[-3:] == oct(first.stat().st_mode)[-3:]


def test_the_same_files_again_change_nothing(first: Path, folder: Path, key: Path):
    publish(first, folder, key)
    before = (folder / POINTER).read_bytes()
    done = publish(first, folder, key)
    assert not done.new and (folder / POINTER).read_bytes() == before


def test_only_what_the_gate_lets_through_replaces_stable(
    first: Path, second: Path, folder: Path, key: Path, tmp_path: Path
):
    publish(first, folder, key)
    with pytest.raises(GateError, match=r"no decision.*--without-gate"):
        publish(second, folder, key)
    with pytest.raises(GateError, match="Hold: no"):
        publish(second, folder, key, gate=decide(tmp_path, first, second, ship=False))
    with pytest.raises(GateError, match="another litert:int8"):
        publish(second, folder, key, gate=decide(tmp_path, second, second))
    with pytest.raises(GateError, match="another litert:int8"):
        publish(second, folder, key, gate=decide(tmp_path, first, first))
    (tmp_path / "text.json").write_text('{"ship": true}')
    with pytest.raises(InputError, match="not what"):
        publish(second, folder, key, gate=tmp_path / "text.json")
    assert seen(folder) == (1, {"stable": ONE})
    assert publish(second, folder, key, gate=decide(tmp_path, first, second)).pointer.number == 2
    assert seen(folder) == (2, {"stable": TWO})


def test_rollback_is_a_new_number_with_the_old_files(first: Path, second: Path, folder: Path, key: Path):
    publish(first, folder, key)
    with pytest.raises(InputError, match="first that it had"):
        rollback(folder, key)
    publish(second, folder, key, without_gate=True)
    assert rollback(folder, key).pointer.number == 3
    assert seen(folder) == (3, {"stable": ONE})
    with pytest.raises(InputError, match=r"first that it had.*--to"):
        rollback(folder, key)
    rollback(folder, key, to=2)
    assert seen(folder) == (4, {"stable": TWO})
    for number in (99, 4, 0):
        with pytest.raises(InputError, match=f"number {number}"):
            rollback(folder, key, to=number)


def test_rolling_back_twice_goes_further_back(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    third = exports(tmp_path / "third", {"litert:int8": b"three"})
    for each in (first, second, third):
        publish(each, folder, key, without_gate=True)
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": TWO}
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": ONE}


def test_a_new_beta_goes_to_as_many_phones_as_the_one_before(first: Path, second: Path, folder: Path, key: Path):
    publish(first, folder, key)
    publish(second, folder, key, channel="beta", share=0.1, without_gate=True)
    publish(first, folder, key, channel="beta")
    pointer, _ = status(folder)
    assert pointer.channels["beta"].share == 0.1
    with pytest.raises(InputError, match="other channels have 10 per cent"):
        publish(second, folder, key, channel="alpha", share=0.95, without_gate=True)


def test_the_gate_has_to_know_every_file(tmp_path: Path, folder: Path, key: Path):
    """Also folders such as Core ML's; files that are new or gone; and a decision about nothing."""
    both = {"coreml:fp16": b"one", "onnx:fp32": b"eins"}
    old = exports(tmp_path / "old", both)
    new = exports(tmp_path / "new", {name: content * 2 for name, content in both.items()})
    fewer = exports(tmp_path / "fewer", {"onnx:fp32": b"zwei"})
    more = exports(tmp_path / "more", {**both, "litert:fp32": b"more"})
    publish(old, folder, key)
    for each, said in ((fewer, "would lose it"), (more, "phones have none")):
        with pytest.raises(GateError, match=said):
            publish(each, folder, key, gate=decide(tmp_path, old, each))
    (tmp_path / "nothing.json").write_text('{"ship": true, "sentence": "", "files": []}')
    with pytest.raises(GateError, match="another coreml:fp16"):
        publish(new, folder, key, gate=tmp_path / "nothing.json")
    with pytest.raises(GateError):
        publish(new, folder, key)
    assert not list((folder / "files").glob(sha256(new / "onnx-fp32.onnx"))), "what is held back is not in the folder"
    publish(new, folder, key, gate=decide(tmp_path, old, new))
    assert seen(folder) == (2, {"stable": {"coreml:fp16": "oneone", "onnx:fp32": "einseins"}})


def test_a_release_that_was_changed_meanwhile_does_not_come_back(first: Path, second: Path, folder: Path, key: Path):
    publish(first, folder, key)
    publish(second, folder, key, without_gate=True)
    path = changed_file(folder)
    path.write_bytes(b"on3")
    with pytest.raises(InputError, match=path.name):
        status(folder)
    with pytest.raises(InputError, match=path.name):
        rollback(folder, key)
    assert seen(folder) == (2, {"stable": TWO})


def test_a_beta_for_some_phones(first: Path, second: Path, folder: Path, key: Path):
    with pytest.raises(InputError, match="first release"):
        publish(first, folder, key, channel="beta", share=0.1)
    publish(first, folder, key)
    publish(second, folder, key, channel="beta", share=0.1, without_gate=True)
    assert seen(folder) == (2, {"stable": ONE, "beta": TWO})
    pointer, _ = status(folder)
    assert (pointer.channels["beta"].share, pointer.channels["stable"].share) == (0.1, 1)
    change(folder, key, end="beta")
    assert seen(folder) == (3, {"stable": ONE})
    for name in ("stable", "beta"):
        with pytest.raises(InputError, match="no channel"):
            change(folder, key, end=name)
    for share in (0, -1, 1.5, float("nan"), None):
        with pytest.raises(InputError, match="share"):
            publish(second, folder, key, channel="beta", share=share)
    for name in ("", "Beta", "../beta", "b" * 40):
        with pytest.raises(InputError, match="--channel"):
            publish(second, folder, key, channel=name, share=0.1)
    with pytest.raises(InputError, match="stable"):
        publish(second, folder, key, share=0.5)


def test_a_folder_is_a_space_and_stays_a_release_folder(first: Path, second: Path, folder: Path, key: Path):
    publish(first, folder, key, app='"Plants": <b>', space=True)
    _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(head)
    assert (about["title"], about["sdk"], about["app_file"]) == ('"Plants": <b>', "static", "index.html")
    assert about["custom_headers"] == {"cross-origin-resource-policy": "cross-origin"}
    assert "&lt;b&gt;" in (folder / "index.html").read_text(encoding="utf-8")
    for name in ("README.md", "index.html", ".gitattributes"):
        (folder / name).write_text((folder / name).read_text(encoding="utf-8") + "\n# mine\n", encoding="utf-8")
    (folder / ".gitignore").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not publish(first, folder, key, space=True).new
    for path, content in before.items():
        assert path.read_bytes() == content, f"{path}: somebody's changes are gone"
    assert publish(second, folder, key, without_gate=True).new and rollback(folder, key).new
    assert status(folder)[0].number == 3


def test_git_keeps_the_contents_of_a_space_as_large_files_and_no_line_end_changes(first: Path, folder: Path, key: Path):
    publish(first, folder, key, space=True)
    subprocess.run(["git", "init", "-q", folder], check=True)
    stored = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    names = [path.relative_to(folder).as_posix() for path in stored]
    asked = ["git", "-C", folder, "check-attr", "filter", "text", "--", *names]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        assert f"{name}: text: unset" in told
        assert (f"{name}: filter: lfs" in told) == name.startswith("files/"), name
    ignored = subprocess.run(["git", "-C", folder, "check-ignore", *names], capture_output=True, text=True).stdout
    assert ignored.split() == [".lock"]


# --- keys ----------------------------------------------------------------------------------------


def chained(folder: Path, trusted: list[PrivateKey]) -> bool:
    """Whether a phone that trusts only the first pointer's keys gets to the current one, number by number."""
    keys = [each.public for each in trusted]
    last = json.loads(opened_payload(folder / POINTER))["number"]
    for number in range(1, last + 1):
        path = folder / (POINTER if number == last else f"history/{number}.json")
        pointer = json.loads(opened(json.loads(path.read_text()), keys))
        assert pointer["number"] == number
        keys = [PublicKey.from_json(each, path) for each in pointer["keys"]]
    return True


def opened_payload(path: Path) -> bytes:
    return base64.b64decode(json.loads(path.read_text())["payload"])


def test_a_key_is_rotated_and_revoked(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    from attar.deploy.release.keys import load

    new = create(tmp_path / "keys" / "two.pem")
    publish(first, folder, key)
    with pytest.raises(InputError, match="do not trust this key"):
        publish(second, folder, new.path, without_gate=True)
    change(folder, key, trust=[new.path.with_suffix(".json")])
    with pytest.raises(InputError, match="does not revoke itself"):
        change(folder, new.path, revoke=[new.public.id])
    change(folder, new.path, revoke=[load(key).public.id[:8]])
    with pytest.raises(InputError, match="do not trust this key"):
        publish(second, folder, key, without_gate=True)
    publish(second, folder, new.path, without_gate=True)
    assert seen(folder) == (4, {"stable": TWO})
    assert chained(folder, [load(key)])
    for start in ("", "zzz"):
        with pytest.raises(InputError, match="0 trusted keys"):
            change(folder, new.path, revoke=[start])


def test_a_lost_key_is_replaced_by_a_spare_one(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    spare = create(tmp_path / "keys" / "spare.pem")
    publish(first, folder, key, also=[spare.path.with_suffix(".json")])
    key.unlink()
    with pytest.raises(InputError, match="lost"):
        publish(second, folder, key, without_gate=True)
    publish(second, folder, spare.path, without_gate=True)
    assert seen(folder) == (2, {"stable": TWO})


def test_a_key_in_the_release_folder_is_refused(first: Path, folder: Path):
    made = create(folder / "keys" / "one.pem")
    outside = folder.parent / "one.pem"
    outside.symlink_to(made.path)
    for key in (made.path, outside):
        with pytest.raises(InputError, match="inside the release folder"):
            publish(first, folder, key)
    elsewhere = create(folder.parent / "two.pem")
    (folder / "two.pem").symlink_to(elsewhere.path)
    for act in (lambda: publish(first, folder, folder / "two.pem"), lambda: rollback(folder, made.path)):
        with pytest.raises(InputError, match="inside the release folder"):
            act()


# --- changed by hand -----------------------------------------------------------------------------


def changed_file(folder: Path) -> Path:
    return next(path for path in (folder / "files").iterdir() if path.read_bytes() == b"one")


def other_key_signs(folder: Path) -> Path:
    path = folder / POINTER
    made = create(folder.parent / "stranger.pem")
    path.write_text(json.dumps(signed(opened_payload(path), made)))
    return path


def renumbered(folder: Path) -> Path:
    path = folder / POINTER
    envelope = json.loads(path.read_text())
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["number"] = 100
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    path.write_text(json.dumps(envelope))
    return path


def edited(name: str, content: bytes):
    def change(folder: Path) -> Path:
        path = changed_file(folder) if name == "file" else next(folder.glob(name))
        path.write_bytes(content)
        return path

    return change


def removed(name: str):
    def change(folder: Path) -> Path:
        path = changed_file(folder) if name == "file" else next(folder.glob(name))
        path.unlink()
        return path

    return change


CHANGES = {
    "a file's bytes": edited("file", b"on3"),
    "a file's length": edited("file", b"one more"),
    "a file removed": removed("file"),
    "a release": edited("releases/*.json", b"{}"),
    "a release removed": removed("releases/*.json"),
    "the pointer": edited(POINTER, b"{}"),
    "the pointer, no JSON": edited(POINTER, b"\xff"),
    "the pointer's number": renumbered,
    "another key": other_key_signs,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_folder_that_was_changed_by_hand_is_named_and_left_alone(
    first: Path, second: Path, folder: Path, key: Path, change
):
    publish(first, folder, key)
    path = change(folder)
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    for act in (
        lambda: publish(second, folder, key, without_gate=True),
        lambda: rollback(folder, key),
        lambda: status(folder),
    ):
        with pytest.raises(InputError, match=path.name):
            act()
    assert (folder / POINTER).read_bytes() == before[folder / POINTER]


def test_a_history_that_lacks_a_pointer_or_has_another_is_named(first: Path, second: Path, folder: Path, key: Path):
    publish(first, folder, key)
    publish(second, folder, key, without_gate=True)
    shutil.copy(folder / POINTER, folder / "history" / "1.json")
    with pytest.raises(InputError, match=r"1\.json: it is another"):
        status(folder)
    (folder / "history" / "1.json").unlink()
    with pytest.raises(InputError, match=r"1\.json: it is missing"):
        rollback(folder, key)


def forged(
    folder: Path, number: int, keys: list[dict[str, str]], stranger: PrivateKey, release: Path, previous: str = ""
) -> bytes:
    """A pointer that a stranger signs, who lists other keys beside their own and leads to their own release."""
    place = folder.parent / "strangers"
    publish(release, place, stranger.path)
    for name in ("files", "releases"):
        shutil.copytree(place / name, folder / name, dirs_exist_ok=True)
    payload = json.loads(opened_payload(place / POINTER))
    payload.update(number=number, previous=previous, keys=[*keys, stranger.public.to_json()], app="garden")
    content = json.loads(next((place / "releases").iterdir()).read_text()) | {"app": "garden"}
    body = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    digest = hashlib.sha256(body).hexdigest()
    (folder / "releases" / f"{digest}.json").write_bytes(body)
    payload["channels"]["stable"]["release"] = digest
    return json.dumps(signed(json.dumps(payload).encode(), stranger)).encode()


def test_a_stranger_who_signs_gets_nothing_signed(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    """Whoever can write to the folder lists the publisher's own key, which is public, beside theirs."""
    from attar.deploy.release.keys import load

    stranger = create(tmp_path / "strangers.pem")
    evil = exports(tmp_path / "evil", {"litert:int8": b"evil", "onnx:fp32": b"evil"})
    own = [load(key).public.to_json()]
    publish(first, folder, key, app="garden")
    publish(second, folder, key, without_gate=True)
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def refused(*changes: tuple[str, bytes], said: str = "") -> None:
        for name, content in changes:
            (folder / name).write_bytes(content)
        for act in (lambda: publish(first, folder, key, without_gate=True), lambda: rollback(folder, key)):
            with pytest.raises(InputError, match=said):
                act()
        for path, content in whole.items():
            path.write_bytes(content)

    refused((POINTER, forged(folder, 2, own, stranger, evil)))
    refused((POINTER, forged(folder, 3, own, stranger, evil)))
    refused((POINTER, forged(folder, 2**60, own, stranger, evil)))
    refused(("history/1.json", forged(folder, 1, own, stranger, evil)))
    # A whole chain of the stranger's: only what the publisher saw last tells.
    begun = forged(folder, 1, own, stranger, evil)
    gone_on = forged(folder, 2, own, stranger, evil, hashlib.sha256(begun).hexdigest())
    refused(("history/1.json", begun), (POINTER, gone_on), said="somebody else wrote it")
    assert rollback(folder, key).pointer.number == 3
    assert seen(folder) == (3, {"stable": ONE})


def test_an_old_state_that_was_put_back_is_no_new_one(first: Path, second: Path, folder: Path, key: Path):
    publish(first, folder, key)
    old = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    publish(second, folder, key, without_gate=True)
    shutil.copy(folder / "history" / "1.json", folder / POINTER)
    with pytest.raises(InputError, match="number 1"):
        publish(second, folder, key, without_gate=True)
    shutil.rmtree(folder)
    for path, content in old.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(InputError, match="number 1, and 2 was published"):
        publish(second, folder, key, without_gate=True)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="number 2 was published"):
        publish(second, folder, key)


def test_links_are_not_followed(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    publish(first, folder, key)
    (tmp_path / "elsewhere").mkdir()
    for name in ("history", "files", "releases", POINTER):
        place = folder / name
        if place.exists():
            place.rename(tmp_path / "kept")
        place.symlink_to(tmp_path / "kept" if (tmp_path / "kept").exists() else tmp_path / "elsewhere")
        with pytest.raises(InputError, match=f"{name}: it is a link"):
            publish(second, folder, key, without_gate=True)
        place.unlink()
        if (tmp_path / "kept").exists():
            (tmp_path / "kept").rename(place)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert publish(second, folder, key, without_gate=True).new


@pytest.mark.parametrize("name", ["back\\slash.json", "line\nbreak.json"])
def test_a_name_that_no_release_may_have_is_refused_before_anything_is_written(
    folder: Path, key: Path, tmp_path: Path, name: str
):
    made = exports(tmp_path / "exports", {"onnx:fp32": b"one"}, more=[name])
    with pytest.raises(InputError, match="Give it another name"):
        publish(made, folder, key)
    assert not (folder / "files").exists()


def test_a_spare_key_is_named_at_the_first_release_only(first: Path, folder: Path, key: Path):
    publish(first, folder, key)
    with pytest.raises(InputError, match="--also"):
        publish(first, folder, key, also=[key.with_suffix(".json")])


def test_what_is_no_release_folder_is_not_written_to(first: Path, folder: Path, key: Path):
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("a site")
    with pytest.raises(InputError, match=r"index\.html"):
        publish(first, folder, key)
    with pytest.raises(InputError, match="nothing was published"):
        rollback(folder / "typo", key)
    assert not (folder / "typo").exists()
    assert not (folder / POINTER).exists()
    with pytest.raises(InputError, match="nothing was published"):
        status(folder / "none")


def test_files_that_changed_since_they_were_verified_are_not_published(first: Path, folder: Path, key: Path):
    (first / "labels.json").write_text('["elm", "ash"]')
    with pytest.raises(InputError, match=r"labels\.json: changed"):
        publish(first, folder, key)
    (first / "onnx-fp32.onnx").write_bytes(b"drei")
    with pytest.raises(InputError, match=r"onnx-fp32\.onnx: changed"):
        publish(first, folder, key)
    with pytest.raises(InputError, match="no verified file onnx:int8"):
        publish(first, folder, key, targets=["onnx:int8"])
    assert not folder.exists()


def test_another_app_has_another_folder(first: Path, folder: Path, key: Path):
    publish(first, folder, key, app="garden")
    with pytest.raises(InputError, match=r"'garden', not of 'birds'"):
        publish(first, folder, key, app="birds")


# --- killed, and two at once ---------------------------------------------------------------------


def test_killed_at_any_moment_phones_see_the_old_release_or_the_new_one(tmp_path: Path, folder: Path, key: Path):
    """SIGKILL at random moments of publishing; then what a phone sees, and the same command again."""
    draw = random.Random(0)
    context = multiprocessing.get_context("fork")
    made = [
        exports(tmp_path / f"run-{number}" / "exports", {"onnx:fp32": f"{number} ".encode() * 100_000})
        for number in range(6)
    ]
    start = time.perf_counter()
    publish(made[0], tmp_path / "another folder", key)
    whole = time.perf_counter() - start
    number, now, killed = 0, -1, 0
    while killed < KILLS:
        following = (now + 1) % len(made)
        process = context.Process(target=publish, args=(made[following], folder, key), kwargs={"without_gate": True})
        process.start()
        time.sleep(draw.uniform(0, 1.5 * whole))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        there, channels = seen(folder)
        content = channels["stable"]["onnx:fp32"].split(" ")[0] if there else "-1"
        assert (there, content) in [(number, str(now)), (number + 1, str(following))]
        publish(made[following], folder, key, without_gate=True)
        number, now = number + 1, following
        assert seen(folder)[0] == number and status(folder)[0].number == number
    assert not list(folder.rglob(".tmp-*")), "what the killed ones left behind is gone"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which file is flushed")
def test_a_power_cut_leaves_no_pointer_to_what_is_gone(
    first: Path, second: Path, folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch
):
    """It may undo a rename until the folder is flushed. What is recorded here is really done."""
    done: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, Path.replace

    def flushing(descriptor: int) -> None:
        done.append(("flushed", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renaming(path: Path, target: Path) -> Path:
        done.append(("renamed", target))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "replace", renaming)
    for release in (first, second):
        done.clear()
        publish(release, folder, key, without_gate=True)
        pointer = done.index(("renamed", folder / POINTER))
        memory = done.index(("renamed", key.with_suffix(".seen.json")))
        assert ("flushed", folder) in done[pointer:memory], "the key remembers what the folder may lose"
        assert ("flushed", folder) in done[:pointer]
        stored = {each.parent for what, each in done[:pointer] if what == "renamed"}
        assert stored == {folder / name for name in ("files", "releases", "history") if (folder / name).is_dir()}
        for place in stored:
            last = max(number for number, each in enumerate(done) if each[0] == "renamed" and each[1].parent == place)
            assert ("flushed", place) in done[last:pointer]
    assert (folder / "history").is_dir()


def test_two_publishers_at_once_write_one_after_the_other(
    first: Path, second: Path, folder: Path, key: Path, tmp_path: Path
):
    publish(first, folder, key)
    context = multiprocessing.get_context("fork")
    made = [exports(tmp_path / f"run-{number}", {"onnx:fp32": str(number).encode()}) for number in range(6)]
    processes = [
        context.Process(target=publish, args=(each, folder, key), kwargs={"without_gate": True}) for each in made
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    assert [each.exitcode for each in processes] == [0] * len(made)
    pointer, _ = status(folder)
    assert pointer.number == 7
    releases = {each.pointer.channels["stable"].release for each in ReleaseFolder(folder).chain()}
    assert len(releases) == 7


def test_the_commands(first: Path, second: Path, folder: Path, tmp_path: Path):
    def attar(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(warm.attar(*words), capture_output=True, text=True)

    key, spare = tmp_path / "one.pem", tmp_path / "spare.pem"
    made = json.loads(attar("keys", key, "--json").stdout)
    assert made["public"] == str(key.with_suffix(".json"))
    attar("keys", spare)
    done = attar(
        "publish",
        first.parent,
        folder,
        "--no-web",
        "--key",
        key,
        "--app",
        "garden",
        "--also",
        spare.with_suffix(".json"),
    )
    assert done.returncode == 0 and "Number 1" in done.stderr, done.stderr
    refused = attar("publish", second, folder, "--no-web", "--key", key)
    assert refused.returncode == 1 and "no decision" in refused.stderr
    told = json.loads(attar("publish", second, folder, "--no-web", "--key", key, "--without-gate", "--json").stdout)
    assert (told["number"], told["new"], told["app"]) == (2, True, "garden")
    again = attar("publish", second, folder, "--no-web", "--key", key, "--without-gate")
    assert again.returncode == 0 and "Nothing changed" in again.stderr
    assert attar("rollback", folder, "--key", key).returncode == 0
    assert seen(folder) == (3, {"stable": ONE})
    table = attar("releases", folder)
    assert table.returncode == 0 and "garden" in table.stdout and made["id"] in table.stdout.replace("\n", "")
    assert attar("releases", folder, "--revoke", made["id"][:8]).returncode == 2
    assert attar("releases", folder, "--key", key).returncode == 2
    assert attar("releases", folder, "--key", spare, "--revoke", made["id"][:8]).returncode == 0
    lost = attar("rollback", folder, "--key", key, "--to", "2")
    assert lost.returncode == 2 and "do not trust this key" in lost.stderr
    next((folder / "releases").iterdir()).write_text("{}")
    assert attar("releases", folder).returncode == 2
