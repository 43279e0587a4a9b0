"""Han characters drawn from free typefaces: ten thousand classes that anyone can make anew (docs/han.md)."""

from attar.data.han.source import HanSpec, write

__all__ = ["HanSpec", "write"]
