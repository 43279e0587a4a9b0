"""More photos: what changed since a run, whose split is kept, and whose models are begun with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from attar import students, teachers
from attar.cli.continuing import earlier_run, what_changed
from attar.cli.inputs import photos_of_bundle
from attar.data.photolist import changes, read_list, write_list
from attar.errors import InputError
from attar.preprocessing import Preprocessing
from attar.provenance import provenance
from attar.runfolder import RunFolder
from attar.train.warm_start import warm_start
from helpers.photo_trees import names, photo, read, tree

VIT = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 1, "num_heads": 2}


def student(labels: str, **options: object) -> students.Student:
    return students.create_student("mobilenetv4_conv_small_035", len(labels), head_width=32, **options)  # type: ignore[arg-type]


# --- the list ------------------------------------------------------------------------------------


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    listing = [("a/\udce9 é\n.png", "a", "train", "0" * 64), ("b.png", "ü", "val", "f" * 64)]
    write_list(tmp_path / "photos.json", listing)
    assert read_list(tmp_path / "photos.json") == listing
    write_list(tmp_path / "photos.json", [])
    assert read_list(tmp_path / "photos.json") == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 2, "photos": []}',
        '{"schema": 1, "photos": [["a", "b", "train"]]}',
        '{"schema": 1, "photos": [["a", "b", "test", "%s"]]}' % ("0" * 64),
        '{"schema": 1, "photos": [["a", 1, "train", "%s"]]}' % ("0" * 64),
        '{"schema": 1, "photos": {"a": 1}}',
    ],
)
def test_a_damaged_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "photos.json").write_text(text)
    with pytest.raises(InputError, match=r"photos\.json: not "):
        read_list(tmp_path / "photos.json")


def test_what_changed_is_counted_and_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", {"a": 4, "b": 4})
    before = read(root).listing
    (root / "b" / "3.png").rename(root / "a" / "from b.png")
    (root / "a" / "3.png").unlink()
    (root / "a" / "2.png").rename(root / "a" / "other name.png")
    photo(root / "c" / "1.png", 1)
    photo(root / "c" / "2.png", 2)
    differ = changes(before, read(root).listing)
    assert (differ.added, differ.removed) == (("c/1.png", "c/2.png"), ("a/3.png",))
    assert differ.relabelled == (("a/from b.png", "b", "a"),)
    assert str(differ).startswith(
        "2 added (c/1.png, c/2.png), 1 removed (a/3.png), 1 relabelled (a/from b.png: 'b', now 'a')"
    )
    folder = RunFolder(tmp_path / "run")
    assert "version 0.1 kept no list" in what_changed(folder, read(root))
    write_list(folder.photos, before)
    assert what_changed(folder, read(root)) == str(differ)


# --- the split -----------------------------------------------------------------------------------


def test_photos_of_the_earlier_run_stay_on_their_sides(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", {"a": 12, "b": 12})
    before = read(root)
    write_list(tmp_path / "photos.json", before.listing)
    for number in range(16):
        photo(root / "a" / f"new {number}.png", number)
    for number in range(4):
        photo(root / "c" / f"{number}.png", 100 + number)
    (root / "b" / "0.png").rename(root / "b" / "moved.png")
    now = read(root, keep=str(tmp_path / "photos.json"))
    old, new = ({entry[3]: entry[2] for entry in each.listing} for each in (before, now))
    assert all(new[digest] == side for digest, side in old.items())
    fresh = [name for name in names(now)["val"] if "new" in name or name.startswith("c/")]
    assert sum("new" in name for name in fresh) == 4 and sum(name.startswith("c/") for name in fresh) == 1
    assert read(root, keep=str(tmp_path / "photos.json")).fingerprint == now.fingerprint
    write_list(tmp_path / "own.json", now.listing)
    assert read(root, keep=str(tmp_path / "own.json")).fingerprint == now.fingerprint, "its own list says the same"
    without = read(root)
    assert any(side != new[digest] for _, _, side, digest in without.listing), "or this test shows nothing"


def test_a_validation_photo_that_is_now_for_training_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    write_list(tmp_path / "photos.json", read(root).listing)
    (root / "val" / "a" / "0.png").rename(root / "train" / "a" / "x.png")
    with pytest.raises(InputError, match=r"train/a/x\.png is a training photo now and was a validation photo"):
        read(root, keep=str(tmp_path / "photos.json"))


# --- the weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["dwsconv", "stock"])
def test_a_student_keeps_what_it_knows_of_the_classes_that_stay(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = student("abc", head=head)
    bundle = students.save(first, tmp_path / "s", labels=list("abc"), preprocessing=Preprocessing(32))
    same = student("abc", head=head)
    warm_start(same, same.network, list("abc"), bundle)
    assert all(torch.equal(new, old) for new, old in zip(same.state_dict().values(), first.state_dict().values()))
    other = student("xcaz", head=head)
    made = other.network.get_classifier().weight.detach().clone()  # type: ignore[operator]
    warm_start(other, other.network, list("xcaz"), bundle)
    old, new = (each.eval()(torch.full((1, 3, 32, 32), 99, dtype=torch.uint8))[0] for each in (first, other))
    assert torch.allclose(new[[1, 2]], old[[2, 0]])
    rows = other.network.get_classifier().weight  # type: ignore[operator]
    assert torch.equal(rows[[0, 3]], made[[0, 3]]) and not torch.equal(rows[[1, 2]], made[[1, 2]])


def test_a_teacher_keeps_what_it_knows(tmp_path: Path) -> None:
    first = teachers.create_teacher("vit_tiny_patch16_224", 2, options=VIT)
    bundle = teachers.save(first, tmp_path / "t", labels=["a", "b"])
    more = teachers.create_teacher("vit_tiny_patch16_224", 3, options=VIT)
    warm_start(more, more.network, ["a", "aa", "b"], bundle)
    old, new = (each.eval()(torch.full((1, 3, 32, 32), 99, dtype=torch.uint8))[0] for each in (first, more))
    assert torch.allclose(new[[0, 2]], old, atol=1e-6)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    bundle = students.save(student("ab"), tmp_path / "s", labels=["a", "b"], preprocessing=Preprocessing(32))
    for other in (student("ab", head="stock"), students.create_student("mobilenetv4_conv_small_050", 2, head_width=32)):
        with pytest.raises(InputError, match="another architecture than the recipe's"):
            warm_start(other, other.network, ["a", "b"], bundle)


# --- the folder ----------------------------------------------------------------------------------


def test_runs_that_cannot_be_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        earlier_run(tmp_path / "old", tmp_path / "new")
    students.save(student("ab"), tmp_path / "old" / "student", labels=["a", "b"], preprocessing=Preprocessing(32))
    with pytest.raises(InputError, match=r"kept no list of its photos \(version 0\.1 wrote none\)"):
        earlier_run(tmp_path / "old", tmp_path / "new")
    write_list(tmp_path / "old" / "photos.json", [])
    with pytest.raises(InputError, match="is --output itself"):
        earlier_run(tmp_path / "old", tmp_path / "old")
    earlier = earlier_run(tmp_path / "old", tmp_path / "new")
    assert earlier.teacher is None and earlier.student.labels == ("a", "b")
    shutil.rmtree(tmp_path / "old" / "student")
    with pytest.raises(InputError, match="no finished run"):
        earlier_run(tmp_path / "old", tmp_path / "new")


def test_other_photos_than_a_model_was_made_from_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify` passed and said nothing when photos were swapped."""
    root = tree(tmp_path / "photos", {"a": 4, "b": 4})
    before = read(root)
    write_list(tmp_path / "run" / "photos.json", before.listing)
    bundle = students.save(
        student("ab"),
        tmp_path / "run" / "student",
        labels=["a", "b"],
        preprocessing=Preprocessing(32),
        provenance=provenance(before, 0, {}),
    )
    assert photos_of_bundle(bundle, None).fingerprint == before.fingerprint
    assert "Warning" not in capsys.readouterr().err
    swapped = root / "a" / "0.png", root / "b" / "0.png"
    contents = [path.read_bytes() for path in swapped]
    for path, content in zip(swapped, reversed(contents)):
        path.write_bytes(content)
    photos_of_bundle(bundle, None)
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "was made from other photos" in said and "2 relabelled (a/0.png: 'b', now 'a', b/0.png: 'a', now 'b')" in said
    )
