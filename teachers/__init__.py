"""Large models that know: timm ViTs from the hub or a local checkpoint, alone or several as one, fitted to photos."""

from attar.teachers.create import create_teacher, create_zero_shot, load, preprocessing_of, save
from attar.teachers.ensemble import Ensemble
from attar.teachers.fit import keep, teach
from attar.teachers.teacher import Teacher

__all__ = [
    "Ensemble",
    "Teacher",
    "create_teacher",
    "create_zero_shot",
    "keep",
    "load",
    "preprocessing_of",
    "save",
    "teach",
]
