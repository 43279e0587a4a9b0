"""The teacher's answers to every view that training will see: from the cache, computed where it lacks some.

The only place where a teacher runs during distillation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

import teachers
from attar import ranks
from attar.bundle import Bundle
from attar.console import say, track
from attar.data import Photos
from attar.errors import InputError
from attar.files import digest_of
from attar.inference import device, fast_bf16
from attar.views import PhotoStore, ViewLoader, ViewPolicy
from distill.cache import TeacherCache
from distill.losses.base import UNKNOWN, attention_map, whitened


def teacher_answers(
    bundle: Bundle,
    photos: Photos,
    views: ViewPolicy,
    folder: Path,
    *,
    epochs: int,
    kinds: tuple[str, ...] = ("logits",),
    compile: bool = False,
) -> TeacherCache:
    """The cache of the teacher's answers to every view that `epochs` epochs will see, built where missing.

    With `compile` the teacher runs through torch.compile, if that works here: worth its minute or two for a large
    teacher and many photos.
    """
    if bundle.labels != photos.labels:
        raise InputError(
            f"{bundle.path}: the teacher knows {len(bundle.labels)} classes ({_first(bundle.labels)}), the photos have "
            f"{len(photos.labels)} ({_first(photos.labels)}). Fit the teacher to these photos with `attar teach`."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = range(min(epochs, views.count))
    # Several students may be trained at once from one cache: the first one here builds it, with all its ranks.
    with ranks.held(FileLock(folder.with_name(f"{folder.name}.lock"))):
        cache = _build_cache(bundle, photos, views, folder, needed, kinds, compile)
        if ranks.count() > 1:  # open it again, for the views that the others have added
            ranks.exchange(None)
            cache = _build_cache(bundle, photos, views, folder, needed, kinds, compile)
    return cache


def _build_cache(
    bundle: Bundle, photos: Photos, views: ViewPolicy, folder: Path, needed: range, kinds: tuple[str, ...],
    compile: bool,
) -> TeacherCache:  # fmt: skip
    seen = photos.train + photos.unlabelled
    cache = TeacherCache(
        folder, teacher=bundle.fingerprint, data=identity_of(photos), views=views.fingerprint,
        shape=(len(seen), len(photos.labels)),
    )  # fmt: skip
    missing = ranks.exchange(cache.missing(needed, kinds))[0]
    if not missing:
        return cache
    model = teachers.load(bundle).to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    teach: Teaching = model if kinds == ("logits",) else model.answers
    one = torch.zeros(1, 3, model.size, model.size, dtype=torch.uint8, device=device())
    cache.expect({kind: answer.shape[1:] for kind, answer in _ask(teach, one, kinds).items()})
    # The teacher sees the very view the student sees, drawn at the teacher's own size.
    labels = np.full(len(seen), UNKNOWN, dtype=np.int64)
    loader = ViewLoader(PhotoStore(seen, model.size), labels, views, size=model.size, batch_size=64, seed=0)
    if compile:
        teach = _compiled(teach, one.expand(min(64, len(seen)), -1, -1, -1).contiguous(), kinds)

    def compute(view: int) -> Iterator[dict[str, np.ndarray]]:
        title = f"Teacher's answers to view {view + 1}/{len(needed)}"
        for batch in track(loader.in_order(view), title, -(-len(seen) // loader.batch_size)):
            yield _ask(teach, batch.images.to(device()), kinds)

    cache.build(ranks.share(missing), compute, kinds)
    return cache


Teaching = Callable[[torch.Tensor], Any]
"""uint8 images (N, 3, S, S) -> logits, or answers by kind."""


@torch.inference_mode()
def _ask(teach: Teaching, images: torch.Tensor, kinds: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A teacher's answers to images, by kind, as they are stored: float32 (N, ...)."""
    with torch.autocast(device().type, torch.bfloat16, enabled=fast_bf16()):
        answers = teach(images)
    raw = {"logits": answers} if isinstance(answers, torch.Tensor) else answers
    raw = {kind: answer.float() for kind, answer in raw.items()}
    return {kind: _STORED[kind](raw).cpu().numpy() for kind in kinds}


def _compiled(teach: Teaching, images: torch.Tensor, kinds: tuple[str, ...]) -> Teaching:
    """The same through torch.compile, tried on a batch; where that does not work, as it was, and a message."""
    say("Compiling the teacher ...")
    fast: Teaching = torch.compile(teach)
    try:
        _ask(fast, images, kinds)
    except Exception as error:  # no C++ compiler, or an operator that it cannot do
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        say(f"torch.compile does not work here ({reason}); the teacher runs without it.")
        return teach
    return fast


_STORED: dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]] = {
    "logits": lambda raw: raw["logits"],
    "pooled": lambda raw: raw["pooled"],
    "map": lambda raw: whitened(raw["map"]),
    "attention": lambda raw: attention_map(raw["map"]),
}
"""Kind of answer -> how it is made from what the teacher gives. See `distill.losses.base`."""


def identity_of(photos: Photos) -> str:
    """Which photos: the labelled ones and, if there are any, the others."""
    if not photos.unlabelled:
        return photos.fingerprint
    return digest_of([photos.fingerprint, photos.unlabelled_fingerprint])


def _first(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
