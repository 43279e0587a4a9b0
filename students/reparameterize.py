"""Branches of training joined into the convolutions that a phone runs.

RepVGG (arXiv 2101.03697), MobileOne (2206.04040), FastViT (2303.14189), RepViT (2307.09283) and others train several
branches in parallel, whose sum is one convolution. timm's models know how to join theirs. The student computes the
same, but for rounding.
"""

from __future__ import annotations

from timm.utils.model import reparameterize_model

from attar.students.student import Student


def reparameterized(student: Student) -> Student:
    """A copy of a student, in evaluation mode, its branches joined; one without such branches is only copied."""
    network = reparameterize_model(student.network.eval())
    return Student(network, dict(student.architecture), student.familiarity).eval()
