"""Running a torch model over uint8 images, in batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from attar.console import track
from attar.data.pixels import Images


def torch_device() -> torch.device:
    """The machine's best device: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def fast_bf16() -> bool:
    """Whether a forward pass in bf16 is faster than in fp32 here: GPUs, and CPUs with bf16 instructions."""
    if torch_device().type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(supported and supported())
    return torch_device().type == "cuda" and torch.cuda.is_bf16_supported()


def to_device(tensor: torch.Tensor, where: torch.device) -> torch.Tensor:
    """A tensor on a device; to a GPU through page-locked memory, so that the caller does not wait for the copy."""
    if where.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(where)
    return tensor.pin_memory().to(where, non_blocking=True)


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 images (N, H, W, 3) -> uint8 tensor (N, 3, H, W), channels-last in memory, no copy."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)


def predict(model: nn.Module, pixels: Images, *, batch_size: int = 64, title: str | None = None) -> np.ndarray:
    """uint8 images (N, H, W, 3) -> float32 class probabilities (N, classes), in evaluation mode."""
    return np.concatenate(list(predict_batches(model, pixels, batch_size=batch_size, title=title)))


def predict_batches(
    model: nn.Module, pixels: Images, *, batch_size: int = 64, title: str | None = None
) -> Iterator[np.ndarray]:
    """The same, `batch_size` images at a time.

    `model` takes uint8 images (N, 3, H, W) and does its own normalization, as every teacher and student here does.
    """
    from scipy.special import softmax

    where = next(model.parameters()).device
    starts = range(0, len(pixels), batch_size)
    was_training = model.training
    model.eval()
    try:
        for start in track(starts, title, len(starts)) if title else starts:
            with torch.inference_mode():
                logits = model(to_tensor(pixels[start : start + batch_size]).to(where)).float().cpu()
            probabilities: np.ndarray = softmax(logits.numpy().astype(np.float64), axis=1)
            yield probabilities.astype(np.float32)
    finally:
        model.train(was_training)
