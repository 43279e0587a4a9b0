"""Small models that learn: timm's MobileNets and EfficientNet-Lites, the DWSConv head, phone-safe rewrites."""

from attar.students.create import FAMILIES, create_student, load, save
from attar.students.dwsconv import DWSConvHead
from attar.students.student import Student

__all__ = ["FAMILIES", "DWSConvHead", "Student", "create_student", "load", "save"]
