"""Distillation: losses, the teacher cache, and fitting a student by labels and a teacher."""

from attar.recipe import DistillSpec
from distill.cache import TeacherCache
from distill.distill import distill
from distill.losses import LOSSES
from distill.qat import quantization_aware

__all__ = ["LOSSES", "DistillSpec", "TeacherCache", "distill", "quantization_aware"]
