"""A reference evaluator for Core ML's ML programs: what a saved .mlpackage computes, on any machine."""

from attar.export.mil.program import Program, read_program

__all__ = ["Program", "read_program"]
