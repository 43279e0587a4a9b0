"""Large models that know: timm ViTs from the hub or a local checkpoint, and how to fit one to photos."""

from attar.recipe import TeachSpec
from teachers.create import Teacher, create_teacher, load, save
from teachers.fit import teach

__all__ = ["TeachSpec", "Teacher", "create_teacher", "load", "save", "teach"]
