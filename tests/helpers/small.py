"""A student small and quick enough to be made anew for every test file."""

from __future__ import annotations

from pathlib import Path

import torch

from attar import students
from attar.bundle import Bundle, read_bundle
from attar.data.photos import Photos, labels_of, load_pixels
from attar.inference import to_tensor
from attar.preprocessing import Preprocessing
from attar.train import small_maps, strided_conv

TARGETS = ["litert:fp32", "litert:fp16", "litert:int8", "onnx:fp32", "onnx:fp16", "onnx:int8", "ort:fp32", "ort:int8"]
SIDE = 32
DROP = 20.0
"""Twelve validation photos: one of them is eight points."""


def make_student(
    name: str,
    photos: Photos,
    path: Path,
    seed: int = 0,
    labels: tuple[str, ...] | None = None,
    head: str = "dwsconv",
    side: int = SIDE,
    steps: int = 25,
) -> Bundle:
    """A student trained for a few steps on `photos`, so that its answers are decided, and its bundle."""
    torch.manual_seed(seed)
    student = students.create_student(name, len(photos.labels), head=head)
    images = to_tensor(load_pixels(photos.train, Preprocessing(side)))
    targets = torch.from_numpy(labels_of(photos.train))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    strided_conv.guard(student)
    small_maps.quicken(student)
    student.train()
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(student(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        student(images)
    return students.save(student.eval(), path, labels=labels or photos.labels, preprocessing=Preprocessing(side))


def train_on(student: Path, photos: Photos, path: Path) -> Bundle:
    """A student of `make_student` after a few small steps more, as a bundle at `path`."""
    before = read_bundle(student, "student")
    module = students.load(before)
    images = to_tensor(load_pixels(photos.train, before.preprocessing))
    targets = torch.from_numpy(labels_of(photos.train))
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-5)
    module.train()
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(module(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return students.save(module.eval(), path, labels=before.labels, preprocessing=before.preprocessing)
