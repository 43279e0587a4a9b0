"""Running a torch model over uint8 images, in batches."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from attar.console import track


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


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """uint8 images (N, H, W, 3) -> uint8 tensor (N, 3, H, W), channels-last in memory, no copy."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)


@torch.inference_mode()
def predict_logits(
    model: nn.Module, pixels: np.ndarray, *, batch_size: int = 64, title: str | None = None, autocast: bool = False
) -> np.ndarray:
    """uint8 images (N, H, W, 3) -> float32 logits (N, classes), in evaluation mode.

    `model` takes uint8 images (N, 3, H, W) and does its own normalization, as every teacher and
    student here does. With `autocast` the forward pass runs in bf16, where only its argmax or a
    soft target matters.
    """
    was_training = model.training
    model.eval()
    where = next(model.parameters()).device
    context = torch.autocast(where.type, torch.bfloat16) if autocast else nullcontext()
    starts = range(0, len(pixels), batch_size)
    outputs = []
    with context:
        for start in track(starts, title, len(starts)) if title else starts:
            outputs.append(model(to_tensor(pixels[start : start + batch_size]).to(where)).float().cpu())
    model.train(was_training)
    return torch.cat(outputs).numpy()


def predict(model: nn.Module, pixels: np.ndarray, *, batch_size: int = 64, title: str | None = None) -> np.ndarray:
    """uint8 images (N, H, W, 3) -> float32 class probabilities (N, classes)."""
    from scipy.special import softmax

    logits = predict_logits(model, pixels, batch_size=batch_size, title=title).astype(np.float64)
    probabilities: np.ndarray = softmax(logits, axis=1).astype(np.float32)
    return probabilities
