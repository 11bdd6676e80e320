"""Imports point one way (docs/architecture.md), and the wheel has every package."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hwgen"
LAYERS = (
    ("errors", "arith", "cost", "cache", "output"),
    ("streams", "board"),
    ("graph", "ilp"),
    ("inputs", "oracle"),
    ("frontend", "requantise", "templates", "testing"),
    ("mapping", "results"),
    ("expected", "models", "reference", "report", "timing"),
    ("hardware",),
    ("overlay", "simulation"),
    ("host",),
    ("choosing",),
    ("overlay_flow",),
    ("exploring", "flow", "implementation", "netlist_check", "scheduling"),
    ("screens",),
    ("demo",),
    ("cli",),
)  #: a module may import from its own layer and those before
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = sorted(p.relative_to(ROOT) for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imported(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, inside functions too."""
    package = path.with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def part(name: str) -> str:
    """``templates`` of ``hwgen.templates.fifo.FifoParams``; empty outside hwgen."""
    parts = name.split(".")
    return parts[1] if parts[0] == "hwgen" and len(parts) > 1 else ""


def test_reading_of_imports(tmp_path):
    assert "hwgen.cost.Cost" in imported(Path("hwgen/templates/fifo.py"))
    assert "hwgen.flow" in imported(Path("hwgen/cli.py"))  # inside a function
    assert part("hwgen.templates.fifo.FifoParams") == "templates"
    assert part("numpy.random") == ""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_one_way(path):
    own = path.with_suffix("").parts[1]
    assert own in RANK, f"{own} must be in LAYERS"
    above = sorted(n for n in imported(path) if part(n) and RANK[part(n)] > RANK[own])
    assert not above, f"{path} must not import {above}"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[1] == "ilp"], ids=str)
def test_ilp_sees_numbers_only(path):
    assert {part(n) for n in imported(path)} <= {"", "ilp", "cost", "errors"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_only_ilp_imports_a_solver(path):
    solvers = {n for n in imported(path) if n.split(".")[0] == "ortools"}
    assert not solvers or path.parts[1] == "ilp"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_what_only_tests_need_is_not_imported(path):
    roots = {n.split(".")[0] for n in imported(path)}
    assert not roots & {"pytest", "hypothesis", "tests"}
    assert "sklearn" not in roots or path == Path("hwgen/models/digits/train.py")


def test_wheel_has_every_package():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    assert set(listed) == found | {"hwgen.boards", "hwgen.sim"}
