"""The report of the digits network: complete, and it adds up."""

import re
from pathlib import Path

import pytest

import hwgen
from hwgen import flow

MODEL = Path(hwgen.__file__).parent / "models" / "digits" / "digits_cnn_int8_qdq_sym_perch.onnx"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "digits"
    return flow.build(MODEL, "ulx3s-85f", folder), (folder / "report.md").read_text()


def table(text, title):
    """Rows of the first table whose head starts with ``title``, as dicts; numbers without their commas."""
    lines = text[text.index(f"| {title} |") :].split("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, (cell.replace(",", "") for cell in row), strict=True)) for row in rows]


def test_figures(built):
    result, text = built
    assert text.startswith(f"# {MODEL.stem} on ulx3s-85f\n")
    assert f"| initiation interval | {result.interval_cycles:,} cycles (" in text
    assert f"| limit: MACs ÷ multipliers | {-(-result.macs // result.multipliers):,} cycles |" in text
    assert f"| latency | {result.latency_cycles:,} cycles |" in text
    assert re.search(rf"\| bound \| {result.bound:,} \((proven optimal|not proven: .*)\) \|", text)


def test_resources(built):
    result, text = built
    rows = {row["resource"]: row for row in table(text, "resource")}
    for name, field in (("LUT", "lut"), ("FF", "ff"), ("multiplier", "dsp"), ("block RAM", "bram")):
        assert int(rows[name]["used"]) == getattr(result.resources, field)
        assert int(rows[name]["available"]) == getattr(result.limits, field)


def test_layers_add_up(built):
    result, text = built
    *rows, between, total = table(text, "layer")
    assert [row["layer"] for row in rows] == [row.name for row in result.layers]
    assert between["layer"] == "between the layers"
    for column in ("MACs", "multipliers"):
        assert sum(int(row[column] or 0) for row in rows) == int(total[column])
    for column, field in (("LUT", "lut"), ("FF", "ff"), ("block RAM", "bram")):
        assert sum(int(row[column]) for row in [*rows, between]) == int(total[column]) == getattr(result.resources, field)
    busiest = max(rows, key=lambda row: int(row["cycles"]))
    assert int(busiest["cycles"]) <= int(total["cycles"]) == result.interval_cycles
    for row, layer in zip(rows, result.layers, strict=True):
        assert row["templates"] == layer.templates
        busy = f"{layer.macs / (layer.multipliers * result.interval_cycles):.1%}" if layer.multipliers else ""
        assert row["busy"] == busy


def test_fifos(built):
    _, text = built
    for row in table(text, "FIFO"):
        assert int(row["words deep"]) >= 3
        assert min(int(row["bits a word"]), int(row["words a frame"])) > 0
