"""`hwgen schedule`: the fewest bytes that published networks have to move, by their shapes."""

import json
from pathlib import Path

import onnx
import pytest

from benchmarks.networks import amoebanet, resnet50, transformer
from hwgen.frontend.footprint import footprint

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    paths = {name: LIGHT / f"light_{name}.onnx" for name in ("densenet121", "shufflenet")}
    for make in (resnet50, amoebanet, transformer):
        paths[make.__name__] = tmp_path_factory.mktemp("models") / f"{make.__name__}.onnx"
        onnx.save(make(), paths[make.__name__])
    return paths


@pytest.mark.parametrize(
    ("name", "options", "kib", "least"),
    [
        ("resnet50", [], 2352, 0),
        ("resnet50", ["--weights"], 2426.5, 1_003_520),
        ("resnet50", ["--weights"], 2524.5, 401_408),
        ("resnet50", ["--weights"], 2622.5, 0),
        ("densenet121", [], 1568, 1_404_928),
        ("densenet121", [], 1666, 1_404_928),
        ("densenet121", [], 1764, 0),
    ],
)
def test_proven_optima(hwgen, models, name, options, kib, least):
    """The optima that two other formulations have, for the paper's networks and budgets (COSMA, arXiv 2311.18246)."""
    code, out, err = hwgen("schedule", models[name], "--scratchpad", kib, *options, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["external_bytes"], said["bound"], said["proven"]) == (least, least, True)
    assert said["baseline_bytes"] >= least
    assert said["compulsory_bytes"] > 0


@pytest.mark.parametrize(
    ("name", "options", "kib", "least"),
    [
        ("resnet50", ["--weights"], 2426.5, 602_112),
        ("shufflenet", [], 686, 37_632),
        ("amoebanet", [], 588, 401_408),
        ("transformer", ["--weights"], 1344, 2_097_152),
    ],
)
def test_proven_over_all_orders(hwgen, models, name, options, kib, least):
    """Small parts as a whole, large ones along a chain."""
    code, out, err = hwgen("schedule", models[name], "--scratchpad", kib, *options, "--reorder", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["external_bytes"], said["bound"], said["proven"]) == (least, least, True)


def test_operators_of_the_file_by_themselves():
    joined, separate = footprint(resnet50()), footprint(resnet50(), join=False)
    assert len(separate.operators) - len(joined.operators) == sum(n.op_type == "Relu" for n in resnet50().graph.node)


def test_screen(hwgen, models):
    code, out, _ = hwgen("schedule", models["densenet121"], "--scratchpad", 1568)
    assert code == 0
    assert "1,404,928" in out


def test_errors(hwgen, models, tmp_path):
    code, _, err = hwgen("schedule", models["resnet50"], "--scratchpad", 100)
    assert code == 2
    assert "choose a scratchpad of 2352 KiB or more" in err
    (tmp_path / "x.onnx").write_bytes(b"\x00" * 9)
    code, _, err = hwgen("schedule", tmp_path / "x.onnx", "--scratchpad", 100)
    assert (code, err.startswith("error: ")) == (2, True)
    for size in ("0", "-1", "nan", "inf"):
        assert hwgen("schedule", models["resnet50"], "--scratchpad", size)[0] == 2
