"""What can be seen of the code without running it: `make lint` runs this file first, and `make test` once more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "attar": set(),
    "teachers": {"attar"},
    "students": {"attar"},
    "distill": {"attar", "teachers", "students"},
    "geo": {"attar"},
    "export": {"attar", "students", "geo"},
    "benchmarks": {"attar", "teachers", "students", "distill", "geo", "export"},
    "benchmarks/studies": {"attar", "teachers", "students", "distill", "geo", "export", "benchmarks", "deploy"},
    "deploy": {"attar", "teachers", "students", "distill", "geo", "export", "benchmarks"},
}
"""Folder -> the other folders that its files may import."""
FOLDERS = tuple(name for name in MAY_IMPORT if "/" not in name)
TOP = ("attar.cli", "attar.__main__")
"""These join everything; nothing below them imports them."""
HEAVY = (
    "coremltools",
    "litert_torch",
    "ai_edge_quantizer",
    "ai_edge_litert",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "executorch",
    "torchao",
    "tensorflow",
    "jax",
    "jinja2",
    "matplotlib",
    "lightning_fabric",
    "tensorboard",
    "mlflow",
    "wandb",
    "pyarrow",
    "s3fs",
    "gcsfs",
    "aiohttp",
    "starlette",
    "uvicorn",
    "segno",
    "h3",
    "cleanlab",
)

FILES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))


def module_of(path: Path) -> str:
    """The name of a file's module, as it is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "attar" else ("attar", *parts)).removesuffix(".__init__")


def folder_of(module: str) -> str:
    """The row of the table that a module belongs to."""
    parts = module.split(".")[1:]
    if parts[:2] == ["benchmarks", "studies"]:
        return "benchmarks/studies"
    return parts[0] if parts and parts[0] in FOLDERS else "attar"


def is_top(module: str) -> bool:
    return module == "attar" or any(module == top or module.startswith(f"{top}.") for top in TOP)


def imports(node: ast.AST) -> Iterator[str]:
    """Absolute module names that an import statement brings (`from a import b` may bring `a.b`)."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"a relative import, line {node.lineno}"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: not function bodies, not `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import_time(child)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_down_the_table(path: Path) -> None:
    module = module_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in imports(node):
            assert name.partition(".")[0] not in FOLDERS[1:], f"{module}: line {node.lineno}: import attar.{name}"
            if name.partition(".")[0] != "attar" or is_top(module):
                continue
            allowed = {folder_of(module), *MAY_IMPORT[folder_of(module)]}
            assert folder_of(name) in allowed, f"{module} imports {name}, line {node.lineno}"
            assert not is_top(name), f"{module} imports {name}, line {node.lineno}"


def test_benchmarks_has_few_files_at_its_top() -> None:
    assert len([path for path in (ROOT / "benchmarks").iterdir() if path.is_file()]) <= 6


def test_no_files_import_each_other_in_a_circle() -> None:
    """Not within functions either; what is imported for type checkers alone does not count."""
    modules = {module_of(path) for path in FILES}
    graph: dict[str, set[str]] = {}
    for path in FILES:
        names = {name for node in at_run_time(ast.parse(path.read_text(encoding="utf-8"))) for name in imports(node)}
        imported = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module_of(path)] = (imported & modules) - {module_of(path)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes but those of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_run_time(child)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_heavy_packages_are_imported_late(path: Path) -> None:
    for node in at_import_time(ast.parse(path.read_text(encoding="utf-8"))):
        for name in imports(node):
            assert name.partition(".")[0] not in HEAVY, f"{path.name} imports {name}, line {node.lineno}"


def test_every_package_is_seen() -> None:
    assert {folder_of(module_of(path)) for path in FILES} == set(MAY_IMPORT)
    assert (ROOT / "attar" / "py.typed").is_file()


def test_images_are_opened_in_one_place() -> None:
    """That place bounds them before it decodes them."""
    places = {path.relative_to(ROOT).as_posix() for path in FILES if "Image.open(" in path.read_text(encoding="utf-8")}
    assert places == {"attar/data/images.py"}
