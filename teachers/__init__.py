"""Large models that know: timm ViTs from the hub or a local checkpoint, alone or several as one, fitted to photos."""

from attar.recipe import TeachSpec
from teachers.create import create_teacher, create_zero_shot, load, preprocessing_of, save
from teachers.ensemble import Ensemble
from teachers.fit import teach
from teachers.teacher import Teacher

__all__ = [
    "Ensemble", "TeachSpec", "Teacher", "create_teacher", "create_zero_shot", "load", "preprocessing_of", "save",
    "teach",
]  # fmt: skip
