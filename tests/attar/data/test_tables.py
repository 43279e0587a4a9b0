"""Photos in Arrow and parquet files as Hugging Face `datasets` writes them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from attar.data.images import open_photo
from attar.data.photos import DataSpec, Photos, load_pixels, read_photos
from attar.data.tables import table_files
from attar.errors import InputError, MissingExtra
from attar.files import user_cache
from attar.preprocessing import Preprocessing
from attar.provenance import data_of, provenance

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = ["rose", "tulip", "aster"]


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(stream, "PNG")
    return stream.getvalue()


def table(numbers: range, labels: list[Any] | None = None, **columns: Any) -> Any:
    """Photos whose red value is their number, of the classes in turn, in the columns that `datasets` writes."""
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
    photos = [{"bytes": png(i), "path": f"{i}.png"} for i in numbers]
    made = pa.table(
        {
            "id": pa.array(numbers),
            "image": pa.array(photos),
            "label": pa.array(labels if labels is not None else [i % 3 for i in numbers]),
            **columns,
        }
    )
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_arrow(path: Path, content: Any, rows: int = 4, **options: Any) -> Path:
    with pa.ipc.new_stream(str(path), content.schema, **options) as writer:
        writer.write_table(content, max_chunksize=rows)
    return path


def save_to_disk(folder: Path, *parts: Any) -> Path:
    """What `Dataset.save_to_disk` leaves, as of datasets 5.2."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(parts):05d}.arrow" for i in range(len(parts))]
    for name, part in zip(names, parts):
        write_arrow(folder / name, part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def read(path: Path, **options: object) -> Photos:
    return read_photos(DataSpec(str(path), **options))


def numbers(photos: Photos) -> dict[str, list[int]]:
    """The numbers of the photos as their pixels tell, with every label checked."""
    numbers_of = {}
    for which in ("train", "val"):
        split = getattr(photos, which)
        pixels = load_pixels(split, Preprocessing(8, 1.0))
        numbers_of[which] = [int(image[0, 0, 0]) for image in pixels]
        assert [photos.labels[p.label] for p in split] == [CLASSES[i % 3] for i in numbers_of[which]]
    return numbers_of


def test_a_saved_dataset_is_split_here(tmp_path: Path) -> None:
    root = save_to_disk(tmp_path / "d", table(range(10)), table(range(10, 18)))
    photos = read(root)
    assert photos.labels == ("aster", "rose", "tulip")
    split = numbers(photos)
    assert sorted(split["train"] + split["val"]) == list(range(18)) and len(split["val"]) == 4
    assert all(values == sorted(values) for values in split.values()), "in the order of the rows"
    assert read(root) == photos and read(root, seed=5).val != photos.val


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_a_saved_dict_keeps_its_splits(tmp_path: Path, held_out: str) -> None:
    splits = {"test": table(range(20, 26)), held_out: table(range(30, 33)), "train": table(range(9))}
    for name, content in splits.items():
        save_to_disk(tmp_path / name, content)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    photos = read(tmp_path)
    assert numbers(photos) == {"train": list(range(9)), "val": [30, 31, 32]}
    (tmp_path / "parquet").mkdir()
    for name in ("train", held_out):
        pq.write_table(splits[name], tmp_path / "parquet" / f"{name}-00000-of-00001.parquet")
    assert read(tmp_path / "parquet").fingerprint == photos.fingerprint, "whichever file comes first"


def test_parquet_is_read_from_the_cache_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(table(range(70)), tmp_path / "data" / "train-00000-of-00002.parquet", row_group_size=8)
    pq.write_table(table(range(70, 90)), tmp_path / "data" / "train-00001-of-00002.parquet", compression="zstd")
    pq.write_table(table(range(90, 96)), tmp_path / "data" / "test-00000-of-00001.parquet")
    photos = read(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert numbers(photos) == {"train": list(range(90)), "val": list(range(90, 96))}
    with open_photo(photos.val[0].path, photos.val[0].part) as stream:
        assert stream.read() == png(90)
    assert {p.path.parents[2] for p in photos.train} == {user_cache()}


def test_arrow_and_parquet_are_the_same_photos_and_found_again(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "arrow", table(range(7)), table(range(7, 18)))
    (tmp_path / "parquet").mkdir()
    pq.write_table(table(range(18)), tmp_path / "parquet" / "p.parquet")
    arrow, parquet = read(tmp_path / "arrow"), read(tmp_path / "parquet")
    assert arrow.fingerprint == parquet.fingerprint == read(tmp_path / "parquet" / "*.parquet").fingerprint
    again = read_photos(data_of(provenance(parquet, 0, {})))
    assert again.fingerprint == parquet.fingerprint
    pq.write_table(table(range(1, 19)), tmp_path / "parquet" / "p.parquet")
    assert read(tmp_path / "parquet").fingerprint != parquet.fingerprint


@pytest.mark.parametrize("encoded", [True, False])
def test_labels_as_text(tmp_path: Path, encoded: bool) -> None:
    labels = pa.array(CLASSES * 4)
    plain = table(range(12), labels.dictionary_encode() if encoded else labels).replace_schema_metadata(None)
    pq.write_table(plain, tmp_path / "p.parquet")
    assert numbers(read(tmp_path / "p.parquet"))["val"]


def test_unlabelled_rows(tmp_path: Path) -> None:
    root = save_to_disk(tmp_path / "d", table(range(12)))
    save_to_disk(tmp_path / "more", table(range(10, 14)).drop_columns(["label"]))
    photos = read(root, unlabelled=str(tmp_path / "more"))
    assert len(photos.unlabelled) == 2 and len(photos.set_aside) == 2


def test_damaged_photos_are_set_aside_by_row(tmp_path: Path) -> None:
    rows = table(range(12)).to_pylist()
    rows[5]["image"]["bytes"] = b"no image"
    photos = read(save_to_disk(tmp_path / "d", pa.Table.from_pylist(rows, schema=table(range(1)).schema)))
    assert [(s.path.name, s.reason) for s in photos.set_aside] == [("000000005", "not an image that Pillow can read")]


# --- refusals ------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read(path)


@pytest.mark.parametrize("lost", [1, 8, 200, 2000])
def test_files_that_end_early(tmp_path: Path, lost: int) -> None:
    arrow = write_arrow(tmp_path / "a.arrow", table(range(12)))
    pq.write_table(table(range(12)), tmp_path / "p.parquet")
    for path in (arrow, tmp_path / "p.parquet"):
        read(path)
        path.write_bytes(path.read_bytes()[:-lost])
        refused(path, rf"{path.name}: cut short")


def test_a_lost_file_of_a_saved_dataset(tmp_path: Path) -> None:
    root = save_to_disk(tmp_path / "d", table(range(6)), table(range(6, 12)))
    (root / "data-00001-of-00002.arrow").unlink()
    refused(root, r"data-00001-of-00002\.arrow: no such file, but .*state\.json lists it")
    (root / "state.json").write_text('{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}')
    refused(root, "old version of datasets")


def test_bad_tables(tmp_path: Path) -> None:
    def bad(content: Any, match: str, **options: Any) -> None:
        refused(write_arrow(tmp_path / "b.arrow", content, **options), r"b\.arrow: " + match)

    good = table(range(12))
    bad(good.drop_columns(["image"]), "0 columns of images among id, label")
    bad(good.append_column("second", good["image"]), "2 columns of images")
    bad(good.drop_columns(["label"]), r"no column of labels among id, image\.")
    bad(table(range(12), [0, 1, 2] * 3 + [0, 1, 3]), "row all/000000011: unknown class 3")
    bad(table(range(12), [0, 1, 2] * 3 + [0, 1, -1]), "row all/000000011: unknown class -1")
    bad(table(range(12), [0, 1, 2] * 3 + [0, 1, None]), "row all/000000011: its label is None")
    rows = good.to_pylist()
    rows[3]["image"]["bytes"] = None
    bad(pa.Table.from_pylist(rows, schema=good.schema), "a row holds no bytes, perhaps only a path")
    lz4 = pa.ipc.IpcWriteOptions(compression="lz4")
    bad(good, "its buffers are compressed", options=lz4)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = save_to_disk(tmp_path / "d", table(range(12)))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r'pip install "attar\[datasets\]"'):
        read(root)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("state.json", "[]"),
        ("state.json", '{"_data_files": 5}'),
        ("state.json", '{"_data_files": [5]}'),
        ("state.json", '{"_data_files": [{"filename": 3}]}'),
        ("state.json", '{"_data_files": [{"file": "a"}]}'),
        ("state.json", '{"_data_files": [{"filename": "../../x.arrow"}]}'),
        ("state.json", "{"),
        ("dataset_dict.json", "[1]"),
        ("dataset_dict.json", '{"splits": 5}'),
        ("dataset_dict.json", '{"splits": ["."]}'),
        ("dataset_dict.json", '{"splits": ["../.."]}'),
        ("dataset_dict.json", '{"splits": [null]}'),
    ],
)
def test_descriptions_of_another_shape_are_one_error(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        table_files(tmp_path)
