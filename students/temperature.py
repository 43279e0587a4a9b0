"""A temperature folded into a student's classifier: no operator is added, and the order of the classes stays."""

from __future__ import annotations

import torch

from attar.students.student import Student

_TOLERANCE = 1e-4
"""Of logits, as a share of the largest."""


@torch.no_grad()
def divide_logits(student: Student, temperature: float, size: int) -> bool:
    """Divide a student's logits by a temperature, in its weights.

    The linear layers that end in its classes are what timm calls the classifier. That nothing but a mean follows them
    is tried on a picture of noise.

    Args:
        student: it is changed.
        temperature: of the softmax.
        size: pixels a side of the images that it takes.

    Returns:
        Whether that could be done; if not, the student stays as it is.
    """
    noise = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(0))
    noise = noise.to(next(student.parameters()).device)
    was_training = student.training
    student.eval()
    expected = student(noise) / temperature
    tensors = [each for layer in student.classifiers() for each in (layer.weight, layer.bias) if each is not None]
    before = [tensor.clone() for tensor in tensors]
    for tensor in tensors:
        tensor /= temperature
    done = bool((student(noise) - expected).abs().max() <= _TOLERANCE * expected.abs().max())
    if not done:
        for tensor, old in zip(tensors, before):
            tensor.copy_(old)
    student.train(was_training)
    return done
