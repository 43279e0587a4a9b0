"""The house stands: imports point down the design's table, and training needs no export package."""

from __future__ import annotations

import ast
import subprocess
import sys
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


def run(code: str, *words: object) -> None:
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {HEAVY} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
"""As if the heavy packages were not installed. Names set to None in `sys.modules` would only look so: libraries ask
there which packages are in use."""


def test_the_training_side_imports_without_the_export_packages() -> None:
    run(f"{WITHOUT}\nfrom attar import teachers, students, distill, geo, export")


@pytest.mark.parametrize("name", ["pyarrow", "onnx"])
def test_a_package_that_is_taken_away_is_gone(name: str) -> None:
    run(f"{WITHOUT}\nimport importlib.util\nassert importlib.util.find_spec({name!r}) is None")


TRAINING = """
from pathlib import Path
from attar.data.photos import DataSpec, read_photos
from attar.recipe import DistillSpec, FinetuneSpec
from attar.distill import distill_student
from attar.teachers import teach
photos, output = read_photos(DataSpec(sys.argv[1])), Path(sys.argv[2])
vit = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
spec = FinetuneSpec(name="vit_tiny_patch16_224", pretrained=False, options=vit, epochs=1, batch_size=8)
teacher = teach(photos, spec, output / "teacher")
spec = DistillSpec(name="mobilenetv3_small_050", pretrained=False, size=32, epochs=1, batch_size=8,
                   check_teacher=False)
distill_student(photos, spec, output / "student", teacher=teacher)
"""


@pytest.mark.slow
def test_the_training_side_trains_without_the_export_packages(shapes: Path, tmp_path: Path) -> None:
    run(WITHOUT + TRAINING, shapes, tmp_path)
    assert (tmp_path / "student" / "model.safetensors").is_file()


def test_importing_attar_and_its_command_line_loads_no_torch() -> None:
    run("import sys, attar, attar.cli; assert not {'torch', 'timm', 'sklearn'} & set(sys.modules)")
