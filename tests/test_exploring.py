"""`hwgen explore`: one engine or two with the same multipliers."""

import json

import pytest

import hwgen as package
from hwgen.demo import MODEL
from hwgen.exploring import explore
from tests.shared_models import MODELS, needs_models


def test_json_and_screen(hwgen):
    code, out, err = hwgen("explore", MODEL, MODEL, "--multipliers", 12, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert [row["name"] for row in said["rows"]] == ["one engine", "two equal", "two of any kind"]
    for row in said["rows"]:
        assert sum(e["rows"] * e["columns"] for e in row["engines"]) <= 12
        assert row["proven"]
        assert row["makespan_cycles"] == row["bound"] == max(task["end"] for task in row["tasks"])
        assert row["utilisation"] == said["macs"] / (12 * row["makespan_cycles"]) <= 1
    one, equal, any_kind = (row["makespan_cycles"] for row in said["rows"])
    assert any_kind <= equal
    code, out, _ = hwgen("explore", MODEL, MODEL, "--multipliers", 12)
    assert code == 0
    assert f"{one:,}" in out
    assert f"{1 - min(equal, any_kind) / one:.1%} fewer cycles" in out or "no two engines" in out


def test_dataflows(hwgen):
    for flow in ("weight", "output"):
        code, out, _ = hwgen("explore", MODEL, "--multipliers", 6, "--dataflow", flow, "--json")
        assert code == 0
        assert {e["dataflow"] for row in json.loads(out)["rows"] for e in row["engines"]} == {flow}


def test_errors(hwgen, tmp_path):
    assert hwgen("explore", MODEL, "--multipliers", 1)[0] == 2
    assert hwgen("explore", "--multipliers", 9)[0] == 2
    (tmp_path / "x.onnx").write_bytes(b"\x00" * 9)
    code, _, err = hwgen("explore", MODEL, tmp_path / "x.onnx", "--multipliers", 9)
    assert (code, err.startswith("error: ")) == (2, True)
    with pytest.raises(package.HwgenError, match=r"^two engines need two multipliers at least, not 1$"):
        package.explore([MODEL], 1)


@needs_models
@pytest.mark.parametrize(
    ("names", "one", "two"),
    [(("kws",), 18_367, 18_367), (("ic",), 88_588, 88_588), (("kws", "ic"), 110_042, 97_984), (("ad",), 2_184, 2_184)],
)
def test_measured(names, one, two):
    """A chain by itself gains nothing, two networks a tenth."""
    found = explore([MODELS / name / f"{name}_int8_qdq_nchw.onnx" for name in names], 156)
    assert all(row.proven for row in found.rows)
    assert (found.rows[0].makespan_cycles, found.rows[2].makespan_cycles) == (one, two)
