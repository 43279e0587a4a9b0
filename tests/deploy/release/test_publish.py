"""Release folders: published, taken back, changed by hand, killed, and written by two at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from attar.deploy.release.envelope import opened, signed
from attar.deploy.release.folder import POINTER, ReleaseFolder, keys_of
from attar.deploy.release.keys import PrivateKey, create
from attar.deploy.release.publish import publish, rollback, status, trust, withdraw
from attar.errors import GateError, InputError
from helpers import warm
from helpers.published import decide, exports, seen

KILLS = 50


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
    with pytest.raises(InputError, match="never before"):
        rollback(folder, key)
    publish(second, folder, key, without_gate=True)
    assert rollback(folder, key).pointer.number == 3
    assert seen(folder) == (3, {"stable": ONE})
    with pytest.raises(InputError, match="never before"):
        rollback(folder, key)
    rollback(folder, key, to=2)
    assert seen(folder) == (4, {"stable": TWO})
    with pytest.raises(InputError, match="number 99"):
        rollback(folder, key, to=99)


def test_rolling_back_twice_goes_further_back(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    third = exports(tmp_path / "third", {"litert:int8": b"three"})
    for each in (first, second, third):
        publish(each, folder, key, without_gate=True)
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": TWO}
    rollback(folder, key)
    assert seen(folder)[1] == {"stable": ONE}


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
    withdraw(folder, key, "beta")
    assert seen(folder) == (3, {"stable": ONE})
    for name in ("stable", "beta"):
        with pytest.raises(InputError, match="no channel"):
            withdraw(folder, key, name)
    for share in (0, -1, 1.5):
        with pytest.raises(InputError, match="share"):
            publish(second, folder, key, channel="beta", share=share)
    with pytest.raises(InputError, match="stable"):
        publish(second, folder, key, share=0.5)


# --- keys ----------------------------------------------------------------------------------------


def chained(folder: Path, trusted: list[PrivateKey]) -> bool:
    """Whether a phone that trusts only the first pointer's keys gets to the current one, number by number."""
    place = ReleaseFolder(folder)
    keys = [each.public for each in trusted]
    last = place.pointer()
    assert last is not None
    for number in range(1, last.number + 1):
        path = folder / (POINTER if number == last.number else f"history/{number}.json")
        opened(json.loads(path.read_text()), keys)
        pointer = place.pointer(path.relative_to(folder).as_posix())
        assert pointer is not None and pointer.number == number
        keys = keys_of(pointer, path)
    return True


def test_a_key_is_rotated_and_revoked(first: Path, second: Path, folder: Path, key: Path, tmp_path: Path):
    from attar.deploy.release.keys import load

    new = create(tmp_path / "keys" / "two.pem")
    publish(first, folder, key)
    with pytest.raises(InputError, match="do not trust this key"):
        publish(second, folder, new.path, without_gate=True)
    trust(folder, key, add=[new.path.with_suffix(".json")])
    with pytest.raises(InputError, match="does not revoke itself"):
        trust(folder, new.path, remove=[new.public.id])
    trust(folder, new.path, remove=[load(key).public.id[:8]])
    with pytest.raises(InputError, match="do not trust this key"):
        publish(second, folder, key, without_gate=True)
    publish(second, folder, new.path, without_gate=True)
    assert seen(folder) == (4, {"stable": TWO})
    assert chained(folder, [load(key)])
    for start in ("", "zzz"):
        with pytest.raises(InputError, match="0 trusted keys"):
            trust(folder, new.path, remove=[start])


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
    for act in (lambda: publish(first, folder, made.path), lambda: rollback(folder, made.path)):
        with pytest.raises(InputError, match="inside the release folder"):
            act()


# --- changed by hand -----------------------------------------------------------------------------


def changed_file(folder: Path) -> Path:
    return next(path for path in (folder / "files").iterdir() if path.read_bytes() == b"one")


def other_key_signs(folder: Path) -> Path:
    path = folder / POINTER
    made = create(folder.parent / "stranger.pem")
    payload = opened(json.loads(path.read_text()), keys_of(ReleaseFolder(folder).pointer(), path))  # type: ignore[arg-type]
    path.write_text(json.dumps(signed(payload, made)))
    return path


def renumbered(folder: Path) -> Path:
    path = folder / POINTER
    import base64

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


def test_what_is_no_release_folder_is_not_written_to(first: Path, folder: Path, key: Path):
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("a site")
    with pytest.raises(InputError, match=r"index\.html"):
        publish(first, folder, key)
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
    releases = {each.channels["stable"].release for each in ReleaseFolder(folder).earlier(pointer)}
    assert len(releases | {pointer.channels["stable"].release}) == 7


def test_the_commands(first: Path, second: Path, folder: Path, tmp_path: Path):
    def attar(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(warm.attar(*words), capture_output=True, text=True)

    key, spare = tmp_path / "one.pem", tmp_path / "spare.pem"
    made = json.loads(attar("keys", key, "--json").stdout)
    assert made["public"] == str(key.with_suffix(".json"))
    attar("keys", spare)
    done = attar("publish", first.parent, folder, "--key", key, "--app", "garden", "--also", spare.with_suffix(".json"))
    assert done.returncode == 0 and "Number 1" in done.stderr, done.stderr
    refused = attar("publish", second, folder, "--key", key)
    assert refused.returncode == 1 and "no decision" in refused.stderr
    told = json.loads(attar("publish", second, folder, "--key", key, "--without-gate", "--json").stdout)
    assert (told["number"], told["new"], told["app"]) == (2, True, "garden")
    again = attar("publish", second, folder, "--key", key, "--without-gate")
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
