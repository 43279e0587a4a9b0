"""Small models that learn: timm's MobileNets and EfficientNet-Lites, the DWSConv head, phone-safe rewrites."""

from attar.students.create import check_size, create_student, load, save
from attar.students.dwsconv import DWSConvHead
from attar.students.families import FAMILIES
from attar.students.reparameterize import reparameterized
from attar.students.student import Student
from attar.students.temperature import divide_logits

__all__ = [
    "FAMILIES",
    "DWSConvHead",
    "Student",
    "check_size",
    "create_student",
    "divide_logits",
    "load",
    "reparameterized",
    "save",
]
