"""A small student that knows how familiar a photo is, and its files."""

from __future__ import annotations

from pathlib import Path

from attar import students
from attar.bundle import Bundle, read_bundle
from attar.data.photos import DataSpec, Photos, read_photos
from attar.export.export import export_student
from attar.students.fit_familiarity import fit_familiarity
from helpers.once import made_once
from helpers.pictures import SHAPES, draw
from helpers.small import DROP, make_student

FILES = ["litert:fp32", "litert:fp16", "coreml:fp16", "onnx:fp32"]
"""Integers of a student of a few steps are too coarse for its familiarity: their files would fail, as they should."""


def familiar_photos(shared: Path) -> Photos:
    """Enough validation photos to say which twentieth is least familiar."""

    def drawn(root: Path) -> None:
        for shape in SHAPES:
            (root / shape).mkdir(parents=True)
            for number in range(40):
                draw(shape, number).save(root / shape / f"{number}.png")

    return read_photos(DataSpec(str(made_once(shared / "many-shapes", drawn))))


def plain_student(shared: Path) -> Bundle:
    """The same without a familiarity."""
    photos = familiar_photos(shared)
    plain = shared / "familiar" / "plain"
    return read_bundle(made_once(plain, lambda path: make_student("mobilenetv3_small_050", photos, path)), "student")


def familiar_student(shared: Path) -> Bundle:
    """Its bundle."""
    photos, plain = familiar_photos(shared), plain_student(shared)

    def made(path: Path) -> None:
        student = students.load(plain)
        student.familiarity = fit_familiarity(student, "relative", photos, plain.preprocessing)
        students.save(student, path, labels=photos.labels, preprocessing=plain.preprocessing)

    return read_bundle(made_once(shared / "familiar" / "student", made), "student")


def familiar_exports(shared: Path) -> Path:
    """Files of `FILES`."""
    bundle, photos = familiar_student(shared), familiar_photos(shared)
    return made_once(
        shared / "familiar" / "exports", lambda path: export_student(bundle, FILES, path, photos=photos, max_drop=DROP)
    )
