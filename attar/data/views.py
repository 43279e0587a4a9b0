"""Replayable views: a view is a pure function of (photo, view number), so anyone can make it again.

Teacher and student see the *same* view of a photo, crop, flips, colours and all ("consistent
teaching", Beyer et al., arXiv 2106.05237). Because a view replays from its numbers, the teacher's
answer to it can be stored once and reused by every student (FKD, Shen and Xing, arXiv 2112.01528;
TinyViT, Wu et al., arXiv 2207.10666). The random numbers do not depend on the size a view is drawn
at, so a teacher with a larger input gets the same crop, only sharper.

Mixup and CutMix are views too: with whom a view is mixed, at what rate and in which box follow from the same numbers,
and not from the batch that it happens to be in, as elsewhere. So the teacher's answers to mixed views are stored and
replayed like the others.

Repeated augmentation (Berman et al., arXiv 1902.05509, section 3.2) puts several views of a photo into one batch. Here
they are the views that the photo would have had in as many epochs, so nothing else changes: not their number, not what
the teacher is asked, not the number of steps.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from attar.children import FORKS
from attar.data.store import PhotoStore, stored_side
from attar.errors import InputError
from attar.files import digest_of
from attar.lookahead import in_order
from attar.preprocessing import FITS, GREY
from attar.train import distributed

if TYPE_CHECKING:  # recipes hold a view policy, and are read by commands that need no torch
    import torch

WORKERS = "ATTAR_WORKERS"
"""The environment variable that says how many draw views."""
MOST_WORKERS = 1024

_Chunk = tuple[np.ndarray, np.ndarray]
"""Photo numbers and view numbers of a batch."""
_Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pixels, labels, photo numbers and view numbers of a batch."""


@dataclass(frozen=True)
class ViewPolicy:
    """How views are drawn.

    Attributes:
        crop_area: smallest and largest share of the photo's area that the random crop keeps.
        aspect: largest aspect ratio of the crop, at least 1 (drawn log-uniformly from 1/aspect to aspect).
        horizontal_flip, vertical_flip: mirror half of the views.
        rotate: largest rotation either way, degrees.
        color: strength of brightness, contrast and saturation changes; each factor is 1 +- color.
        mixup: views blended with another photo's (Zhang et al., arXiv 1710.09412), at a rate from
            Beta(mixup, mixup); 0 switches it off.
        cutmix: views with a box of another photo's pasted in (Yun et al., arXiv 1905.04899), of a share of the area
            from Beta(cutmix, cutmix); 0 switches it off. With both on, each takes half of the mixed views.
        mixed: share of the views that are mixed, if either is on.
        fit: what a crop is drawn from (`attar.preprocessing.FITS`): the photo (`crop`), the photo distorted to a square
            (`squash`), or the photo between grey borders that make it square (`pad`). In a recipe by default what
            the student is evaluated with.
        repeats: views of a photo that are in one batch; an epoch then shows one in so many photos.
        count: number of distinct views of a photo; without repeats, epoch e sees view e modulo count.
        seed: start of the random numbers.
    """

    crop_area: tuple[float, float] = (0.35, 1.0)
    aspect: float = 1.33
    horizontal_flip: bool = True
    vertical_flip: bool = False
    rotate: float = 0.0
    color: float = 0.2
    fit: str = "crop"
    mixup: float = 0.0
    cutmix: float = 0.0
    mixed: float = 1.0
    repeats: int = 1
    count: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.crop_area
        rules = {
            "crop_area": (0 < low <= high <= 1, "two shares of the photo, the smaller first, above 0 and up to 1"),
            "aspect": (1 <= self.aspect <= 10, "between 1 and 10"),
            "rotate": (0 <= self.rotate <= 180, "degrees between 0 and 180"),
            "color": (0 <= self.color < 1, "between 0 and 1: at 1 a view may be black"),
            "fit": (self.fit in FITS, f"one of {', '.join(FITS)}"),
            "mixup": (0 <= self.mixup <= 100, "between 0 and 100"),
            "cutmix": (0 <= self.cutmix <= 100, "between 0 and 100"),
            "mixed": (0 <= self.mixed <= 1, "a share between 0 and 1"),
            "count": (1 <= self.count <= 1_000_000, "between 1 and 1,000,000"),
            "seed": (0 <= self.seed < 1 << 63, "between 0 and 2**63"),
        }
        for name, (fits, rule) in rules.items():
            if not fits:  # nor does NaN
                raise ValueError(f"{name} is {rule}, not {getattr(self, name)}")
        if not 1 <= self.repeats <= self.count:
            raise ValueError(f"repeats {self.repeats} are views of one photo, of which there are count: {self.count}")

    @property
    def mixes(self) -> bool:
        """Whether any view is mixed."""
        return bool(self.mixed and (self.mixup or self.cutmix))

    @property
    def fingerprint(self) -> str:
        """Identity of what is drawn: not of how many views, or in which order, because that changes no view."""
        # "drawn": views of version 0.1 broke the limits of area and aspect on long photos.
        ignored = {"count", "repeats"} if self.mixes else {"count", "repeats", "mixup", "cutmix", "mixed"}
        ignored |= {"fit"} if self.fit == "crop" else set()  # which policies without it draw
        return digest_of({"drawn": 2, **{k: v for k, v in self.to_json().items() if k not in ignored}})

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def seen(self, epochs: int) -> range:
        """The views that so many epochs show."""
        return range(min(-(-epochs // self.repeats) * self.repeats, self.count))

    def photos_in(self, batch_size: int) -> int:
        """Different photos in a batch; an `InputError` if it cannot be made up of repeated ones."""
        if batch_size % self.repeats:
            raise InputError(
                f"A batch of {batch_size} cannot show every photo in it {self.repeats} times (views.repeats). Set "
                f"batch_size to a multiple of {self.repeats} that is no larger than the number of photos."
            )
        return batch_size // self.repeats

    def draw(self, photo: Image.Image, index: int, view: int, size: int) -> np.ndarray:
        """View number `view` of photo number `index` (RGB, any size) -> uint8 array (size, size, 3)."""
        rng = np.random.default_rng((self.seed, index, view))
        photo = _bordered(photo, size) if self.fit == "pad" else photo
        box = self._box(rng, photo.width, photo.height)
        flips, angle = rng.random(2) < 0.5, rng.uniform(-1, 1) * self.rotate
        factors = 1 + rng.uniform(-1, 1, 3) * self.color
        image = photo.resize((size, size), Image.Resampling.BILINEAR, box=box)
        if self.horizontal_flip and flips[0]:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.vertical_flip and flips[1]:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if self.rotate:
            image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
        if self.color:
            for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors):
                image = enhance(image).enhance(float(factor))
        return np.asarray(image, dtype=np.uint8)

    def mix(self, index: int, view: int, photos: int) -> Mix | None:
        """With which of `photos` photos this view of photo number `index` is mixed, and how; None if it is not."""
        if not self.mixes or photos < 2:
            return None
        rng = np.random.default_rng((self.seed, index, view, 1))  # not what `draw` draws from
        chosen, cuts = rng.random(2)
        if chosen >= self.mixed:
            return None
        cuts = bool(self.cutmix and (not self.mixup or cuts < 0.5))
        partner = int(index + 1 + rng.integers(photos - 1)) % photos
        alpha = self.cutmix if cuts else self.mixup
        rate = float(rng.beta(alpha, alpha))
        if not cuts:
            return Mix(partner, rate)
        half = math.sqrt(1 - rate) / 2
        x, y = rng.random(2)
        box = (max(0.0, x - half), max(0.0, y - half), min(1.0, x + half), min(1.0, y + half))
        return Mix(partner, 1 - (box[2] - box[0]) * (box[3] - box[1]), box)

    def _box(self, rng: np.random.Generator, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a photo that a view shows."""
        if self.fit != "squash":
            return self._crop(rng, width, height)
        left, top, right, bottom = self._crop(rng, 1, 1)
        return (left * width, top * height, right * width, bottom * height)

    def _crop(self, rng: np.random.Generator, width: int, height: int) -> tuple[float, float, float, float]:
        """A box whose area and aspect both keep their limits.

        Of a long photo, a crop that is not long cannot have much of the area: the area is then drawn from what is left
        of its range, and the aspect from what is left of its range for that area. Where nothing is left, the aspect's
        limit is kept, and the area is the largest with it.
        """
        largest = min(1.0, self.aspect * min(width, height) / max(width, height))
        low, high = (min(share, largest) for share in self.crop_area)
        area = rng.uniform(low, high) * width * height
        bound = math.log(self.aspect)
        widest, narrowest = math.log(width * width / area), math.log(area / (height * height))
        ratio = math.exp(rng.uniform(max(-bound, narrowest), max(min(bound, widest), max(-bound, narrowest))))
        w = min(width, math.sqrt(area * ratio))
        h = min(height, math.sqrt(area / ratio))
        left, top = rng.random(2) * (width - w, height - h)
        return (left, top, left + w, top + h)


@dataclass(frozen=True)
class Mix:
    """How a view is mixed with the same view number of another photo.

    Attributes:
        partner: the other photo's number.
        rate: share of the view's own photo, in its pixels as in its label.
        box: CutMix: left, top, right and bottom of what is the partner's, as shares of the side; None: Mixup.
    """

    partner: int
    rate: float
    box: tuple[float, float, float, float] | None = None

    def blend(self, own: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Two uint8 views (S, S, 3) -> the mixed one."""
        if self.box is None:
            return np.rint(self.rate * own + (1 - self.rate) * other).astype(np.uint8)
        left, top, right, bottom = (round(edge * len(own)) for edge in self.box)
        mixed = own.copy()
        mixed[top:bottom, left:right] = other[top:bottom, left:right]
        return mixed


def _bordered(image: Image.Image, size: int) -> Image.Image:
    """An RGB photo in the middle of a grey square, no larger than views of `size` pixels need."""
    image = ImageOps.contain(image, (stored_side(size),) * 2) if max(image.size) > stored_side(size) else image
    side = max(image.size)
    square = Image.new("RGB", (side, side), GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


@dataclass(frozen=True)
class Batch:
    """What one training step sees: images uint8 (N, 3, S, S), labels, photo numbers (N,), view numbers (N,).

    Labels are int64 (N,), and under a policy that mixes float32 (N, classes): each class's share.
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: np.ndarray
    view: np.ndarray

    def split(self, parts: int) -> list[Batch]:
        """The same in so many batches of the same size; `parts` divides the size."""
        if parts == 1:
            return [self]
        rows = {f.name: getattr(self, f.name) for f in fields(self) if hasattr(getattr(self, f.name), "__len__")}
        taken = [slice(part, None, parts) for part in range(parts)]
        return [replace(self, **{name: value[own] for name, value in rows.items()}) for own in taken]

    def to(self, where: torch.device) -> Batch:
        """The same with its tensors on a device."""
        from attar.inference import to_device

        moved: dict[str, Any] = {name: to_device(tensor, where) for name, tensor in self.tensors().items()}
        return replace(self, **moved)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What of it is a tensor, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if hasattr(getattr(self, f.name), "to")}


@dataclass(frozen=True)
class _Drawing:
    """What views are drawn from. Processes hold this and not the loader that holds them: a circle would be taken apart
    by the garbage collector, which ends the queues before the processes, and each is then waited for in vain."""

    store: PhotoStore
    labels: np.ndarray
    policy: ViewPolicy
    size: int

    @property
    def classes(self) -> int:
        """Every class has a training photo."""
        return int(self.labels.max(initial=-1)) + 1

    def _draw(self, index: int, view: int, mix: Mix | None) -> np.ndarray:
        own = self.policy.draw(self.store[index], index, view, self.size)
        if mix is None:
            return own
        return mix.blend(own, self.policy.draw(self.store[mix.partner], mix.partner, view, self.size))

    def _labels(self, index: np.ndarray, mixes: Sequence[Mix | None]) -> np.ndarray:
        if not self.policy.mixes or self.classes == 0:
            return self.labels[index]
        shares = np.zeros((len(index), self.classes), dtype=np.float32)
        for row, (own, mix) in enumerate(zip(index, mixes)):
            shares[row, self.labels[own]] = 1.0 if mix is None else mix.rate
            if mix is not None:
                shares[row, self.labels[mix.partner]] += 1 - mix.rate
        return shares

    def chunk(self, chunk: _Chunk) -> _Drawn:
        """(photo numbers, view numbers) -> what a batch of them needs, as arrays."""
        index, views = chunk
        rows = list(zip(index.tolist(), views.tolist()))
        mixes = [self.policy.mix(i, view, len(self.store)) for i, view in rows]
        pixels = np.stack([self._draw(i, view, mix) for (i, view), mix in zip(rows, mixes)])
        return pixels, self._labels(index, mixes), index, views


class ViewLoader:
    """Batches of views in an order that is a pure function of (seed, epoch), drawn ahead.

    `labels` are int64 (photos,); all -1 for photos that have none. One of `workers` is a thread; several are processes
    where that is possible (`attar.data.processes`), unless `processes` says otherwise. What is drawn is the same.
    """

    def __init__(
        self,
        store: PhotoStore,
        labels: np.ndarray,
        policy: ViewPolicy,
        *,
        size: int,
        batch_size: int,
        seed: int,
        workers: int | None = None,
        processes: bool | None = None,
    ) -> None:
        self.store, self.labels, self.policy = store, labels, policy
        self.size, self.batch_size, self.seed = size, min(batch_size, len(store)), seed
        self._drawing = _Drawing(store, labels, policy, size)
        self._workers = workers or default_workers()
        self._processes: Any = None
        if (self._workers > 1 and FORKS) if processes is None else processes:
            from attar.data.processes import Processes

            self._processes = Processes(self._drawing.chunk, self._workers)

    @property
    def steps(self) -> int:
        """Batches in an epoch; the incomplete last one is left out, as batch norm prefers."""
        return len(self.store) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """This rank's share of the batches of one epoch, from step `start` on."""
        # A round of so many epochs as there are repeats shows every photo, each in that many views at once.
        repeats, photos = self.policy.repeats, self.policy.photos_in(self.batch_size)
        number, part = divmod(epoch, repeats)
        order = np.random.default_rng((self.seed, number)).permutation(len(self.store))
        views = np.repeat((number * repeats + np.arange(repeats)) % self.policy.count, photos)
        first = part * self.steps
        chunks = (order[s * photos : (s + 1) * photos] for s in range(first + start, first + self.steps))
        yield from self._drawn([(distributed.share(np.tile(own, repeats)), distributed.share(views)) for own in chunks])

    def in_order(self, view: int) -> Iterator[Batch]:
        """Every photo once, in the data's order: how the teacher's answers are stored."""
        everything = np.arange(len(self.store))
        chunks = np.split(everything, range(self.batch_size, len(everything), self.batch_size))
        yield from self._drawn([(own, np.full(len(own), view)) for own in chunks])

    def _drawn(self, chunks: Sequence[_Chunk]) -> Iterator[Batch]:
        """Batches of (photo numbers, view numbers)."""
        if self._processes:
            yield from map(_as_batch, self._processes.drawn(chunks))
            return
        with ThreadPoolExecutor(self._workers) as pool:
            yield from map(_as_batch, in_order(pool, self._drawing.chunk, chunks, 4))


def _as_batch(drawn: _Drawn) -> Batch:
    """What the training takes. Tensors are made here: between processes, torch would send them through /dev/shm, of
    which a container has little."""
    import torch

    from attar.inference import to_tensor

    pixels, labels, index, views = drawn
    return Batch(to_tensor(pixels), torch.from_numpy(labels), index, views)


def default_workers() -> int:
    """How many draw views: `ATTAR_WORKERS`, else one less than the cores that this rank has.

    Raises:
        InputError: `ATTAR_WORKERS` is not a number of at least one.
    """
    asked = os.environ.get(WORKERS)
    if not asked:
        return max(1, (os.cpu_count() or 1) // distributed.local_count() - 1)
    if not asked.isascii() or not asked.isdigit() or not 1 <= int(asked) <= MOST_WORKERS:
        raise InputError(f"{WORKERS}={asked}: not a number from 1 to {MOST_WORKERS}.")
    return int(asked)
