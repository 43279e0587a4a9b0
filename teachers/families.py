"""Families of teachers that are tried here, and what one of them needs.

Nothing is downloaded or computed: networks are made on torch's meta device, and the tensors that a forward pass would
hold at its largest moment are counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import timm
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attar.errors import InputError
from attar.pretrained.files import unknown_model

FAMILIES: dict[str, tuple[str, ...]] = {
    "ViT": (
        "vit_tiny_patch16_224",
        "vit_small_patch16_224",
        "vit_base_patch16_224",
        "vit_large_patch16_224",
        "vit_huge_patch14_224",
    ),
    "DeiT": ("deit_base_distilled_patch16_224", "deit3_large_patch16_224"),
    "BEiT": ("beitv2_base_patch16_224",),
    "DINOv2": ("vit_small_patch14_reg4_dinov2", "vit_base_patch14_reg4_dinov2", "vit_large_patch14_reg4_dinov2"),
    "DINOv3": ("vit_small_patch16_dinov3", "vit_base_patch16_dinov3", "vit_large_patch16_dinov3"),
    "EVA-02": ("eva02_small_patch14_336", "eva02_base_patch14_448", "eva02_large_patch14_448"),
    "CLIP": ("vit_base_patch16_clip_224", "vit_large_patch14_clip_224"),
    "SigLIP": ("vit_base_patch16_siglip_224", "vit_so400m_patch14_siglip_224"),
    "hybrid": ("vit_base_r50_s16_224",),
}
"""Family -> architectures of timm. Any other timm model may do as well; of these every kind of answer is tested."""


@dataclass(frozen=True)
class Needs:
    """What a teacher needs.

    Attributes:
        size: side of its images, pixels.
        parameters: how many weights it has, the classifier left out.
        weights_bytes: of its weights in float32.
        batch_bytes: what a batch needs besides, in float32, at its largest moment, gradients not counted and attention
            fused; half of it in bf16.
    """

    family: str
    name: str
    size: int
    parameters: int
    weights_bytes: int
    batch_bytes: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def needs_of(names: Sequence[str] = (), *, size: int | None = None, batch: int = 64) -> Iterator[Needs]:
    """What teachers need for a batch of so many images, one at a time; by default those of `FAMILIES`.

    Args:
        names: timm models.
        size: side of their images, pixels; by default each one's own.
        batch: images.

    Raises:
        InputError: an unknown name, or a model that cannot be had at this size.
    """
    families = {name: family for family, members in FAMILIES.items() for name in members}
    for name in names:
        if not timm.is_model(name):
            raise unknown_model(name, timm.list_models(), "teacher")
    for name in names or families:
        yield _needs(name, families.get(name, ""), size, batch)


def table(needs: Sequence[Needs], batch: int) -> Any:
    """For a person: a `rich` table."""
    from rich.table import Table

    caption = (
        f"Parameters in millions, memory in gigabytes: of the weights (fp32), and of a batch of {batch} (forward)."
    )
    shown = Table("Family", "timm model", "Size", "Params", "Weights", "Batch", caption=caption, caption_justify="left")
    shown.columns[1].no_wrap = True
    for column in shown.columns[2:]:
        column.justify = "right"
    for each in needs:
        gigabytes = [f"{size / 1e9:.2f}" for size in (each.weights_bytes, each.batch_bytes)]
        shown.add_row(each.family, each.name, str(each.size), f"{each.parameters / 1e6:.1f}", *gigabytes)
    return shown


def _needs(name: str, family: str, size: int | None, batch: int) -> Needs:
    options: dict[str, Any] = {"img_size": size} if size else {}
    try:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0, **options).eval()
            side = size or timm.data.resolve_model_data_config(network)["input_size"][-1]
            with torch.no_grad(), _FusedAttention(), _Held() as held:
                network(torch.zeros(batch, 3, side, side))
    except (TypeError, AssertionError, RuntimeError) as error:
        raise InputError(f"teacher {name!r}: cannot be had at {size or 'its own'} pixels ({error}).") from error
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Needs(family, name, side, parameters, 4 * parameters, held.most)


class _Held(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside the block and still held.

    Attributes:
        now: bytes.
        most: the largest that `now` has been.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and id(storage := tensor.untyped_storage()) not in given:  # no view
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return made

    def _count(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


class _FusedAttention(TorchFunctionMode):
    """Attention as a fused kernel leaves it in memory: its output, and no matrix of all pairs of tokens."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))
