"""Distillation: losses, the teacher cache, and fitting a student by labels and a teacher."""

from distill.cache import TeacherCache
from distill.distill import DistillSpec, distill
from distill.losses import LOSSES

__all__ = ["LOSSES", "DistillSpec", "TeacherCache", "distill"]
