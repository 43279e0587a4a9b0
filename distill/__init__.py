"""Distillation: losses, the teacher cache, and fitting a student by labels and a teacher."""

from attar.distill.cache import TeacherCache
from attar.distill.distill import distill_student
from attar.distill.losses import LOSSES
from attar.distill.qat import quantization_aware
from attar.recipe import DistillSpec

__all__ = ["LOSSES", "DistillSpec", "TeacherCache", "distill_student", "quantization_aware"]
