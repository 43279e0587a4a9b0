"""The teacher's outputs for every view that training will see: from the cache, computed where it lacks some.

The only place where a teacher runs during distillation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from attar import teachers
from attar.bundle import Bundle
from attar.console import say, track
from attar.data.photos import Photo, Photos
from attar.data.store import PhotoStore
from attar.data.views import ViewLoader, ViewPolicy
from attar.distill.cache import TeacherCache
from attar.distill.losses.base import UNKNOWN, attention_map, whitened
from attar.distill.topk_logits import MANY, SAMPLE
from attar.errors import InputError
from attar.files import digest_of
from attar.inference import fast_bf16, torch_device
from attar.train import distributed
from attar.train.memory import keep_freed


def fill_cache(
    bundle: Bundle,
    photos: Photos,
    views: ViewPolicy,
    folder: Path,
    *,
    epochs: int,
    kinds: tuple[str, ...] = ("logits",),
    temperature: float = 1.0,
    compile: bool = False,
) -> TeacherCache:
    """The cache of the teacher's outputs for every view that `epochs` epochs will see, built where missing.

    Args:
        bundle: the teacher.
        photos: what it is asked about: the training photos, then those without labels.
        views: how views are drawn.
        folder: of the cache.
        epochs: of the training; it sees at most `views.count` views.
        kinds: what the losses read.
        temperature: the largest at which they read logits; see `attar.distill.topk_logits`.
        compile: run the teacher through torch.compile, where that works.

    Raises:
        InputError: the teacher has other classes than the photos; a cache of another teacher, of other photos or
            views, or for lower temperatures; a disk without room.
    """
    if bundle.labels != photos.labels:
        raise InputError(
            f"{bundle.path}: the teacher knows {len(bundle.labels)} classes ({_first(bundle.labels)}), the photos have "
            f"{len(photos.labels)} ({_first(photos.labels)}). Fit the teacher to these photos with `attar teach`."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = views.seen(epochs)
    # Several students may be trained at once from one cache: the first one here builds it, with all its ranks.
    with distributed.held(FileLock(folder.with_name(f"{folder.name}.lock"))):
        cache = _build_cache(bundle, photos, views, folder, needed, kinds, temperature, compile)
        if distributed.count() > 1:  # open it again, for the views that the others have added
            distributed.exchange(None)
            cache = _build_cache(bundle, photos, views, folder, needed, kinds, temperature, compile)
    return cache


def _build_cache(
    bundle: Bundle,
    photos: Photos,
    views: ViewPolicy,
    folder: Path,
    needed: range,
    kinds: tuple[str, ...],
    temperature: float,
    compile: bool,
) -> TeacherCache:
    seen = photos.train + photos.unlabelled
    cache = TeacherCache(
        folder,
        teacher=bundle.fingerprint,
        data=identity_of(photos),
        views=views.fingerprint,
        shape=(len(seen), len(photos.labels)),
    )
    cache.serve(temperature if "logits" in kinds else 0.0)
    missing = distributed.exchange(cache.missing(needed, kinds))[0]
    if not missing:
        return cache
    keep_freed()
    model: Any = teachers.load(bundle).to(torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    one = torch.zeros(1, 3, model.size, model.size, dtype=torch.uint8, device=torch_device())
    cache.expect({kind: output.shape[1:] for kind, output in teacher_forward(model, one, kinds).items()})
    # The teacher sees the very view the student sees, drawn at the teacher's own size.
    labels = np.full(len(seen), UNKNOWN, dtype=np.int64)
    loader = ViewLoader(PhotoStore(seen, model.size), labels, views, size=model.size, batch_size=64, seed=0)
    if compile:
        model = _compiled(model, one.repeat(min(64, len(seen)), 1, 1, 1), kinds)

    if "logits" in kinds and not cache.begun and len(photos.labels) > MANY:
        cache.pack(distributed.exchange(_sample(model, seen, views))[0], temperature)

    def compute(view: int) -> Iterator[dict[str, np.ndarray]]:
        title = f"Teacher's outputs for view {view + 1}/{len(needed)}"
        for batch in track(loader.in_order(view), title, -(-len(seen) // loader.batch_size)):
            yield teacher_forward(model, batch.images.to(torch_device()), kinds)

    cache.build(distributed.share(missing), compute, kinds)
    return cache


def _sample(model: Any, photos: tuple[Photo, ...], views: ViewPolicy) -> np.ndarray:
    """Logits of a view of some photos, evenly spread, float32 (N, classes)."""
    chosen = tuple(photos[i] for i in np.unique(np.linspace(0, len(photos) - 1, SAMPLE).round().astype(int)))
    labels = np.full(len(chosen), UNKNOWN, dtype=np.int64)
    loader = ViewLoader(PhotoStore(chosen, model.size), labels, views, size=model.size, batch_size=64, seed=0)
    return np.concatenate(
        [teacher_forward(model, batch.images.to(torch_device()))["logits"] for batch in loader.in_order(0)]
    )


class _Compiled:
    """A teacher through torch.compile, for `teacher_forward`."""

    def __init__(self, model: Any) -> None:
        self.size = model.size
        self.outputs = torch.compile(model.outputs)
        self._logits = torch.compile(model.forward)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self._logits(images)


def _compiled(model: Any, images: torch.Tensor, kinds: tuple[str, ...]) -> Any:
    """A compiled teacher, tried on a batch; where that does not work, the teacher as it is, and a message."""
    say("Compiling the teacher ...")
    fast = _Compiled(model)
    try:
        teacher_forward(fast, images, kinds)
    except Exception as error:  # no C++ compiler, or an operation that it cannot do
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        say(f"torch.compile does not work here ({reason}). The teacher runs without it.")
        return model
    return fast


@torch.inference_mode()
def teacher_forward(model: Any, images: torch.Tensor, kinds: tuple[str, ...] = ("logits",)) -> dict[str, np.ndarray]:
    """A teacher's outputs to images, by kind, as they are stored.

    Args:
        model: a `teachers.Teacher`, in evaluation mode.
        images: uint8 (N, 3, H, W), on its device.
        kinds: what is wanted; see `attar.distill.losses.base`.

    Returns:
        Kind -> float32 (N, ...).
    """
    with torch.autocast(torch_device().type, torch.bfloat16, enabled=fast_bf16()):
        raw = {"logits": model(images)} if kinds == ("logits",) else model.outputs(images)
    raw = {kind: output.float() for kind, output in raw.items()}
    return {kind: _STORED[kind](raw).cpu().numpy() for kind in kinds}


_STORED: dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]] = {
    "logits": lambda raw: raw["logits"],
    "pooled": lambda raw: raw["pooled"],
    "feature_map": lambda raw: whitened(raw["feature_map"]),
    "mid_features": lambda raw: whitened(raw["mid_features"]),
    "attention": lambda raw: attention_map(raw["feature_map"]),
}
"""Kind of output -> how it is made from what the teacher gives. See `attar.distill.losses.base`."""


def identity_of(photos: Photos) -> str:
    """Which photos: the labelled ones and, if there are any, the others."""
    if not photos.unlabelled:
        return photos.fingerprint
    return digest_of([photos.fingerprint, photos.unlabelled_fingerprint])


def _first(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
