"""Engine, program and memory on one chip, with streams at both ends: emitted, simulated, compared with ONNX Runtime."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen import flow, simulation
from hwgen.frontend import import_model
from hwgen.hardware.emit import emit
from hwgen.inputs import make_frames
from hwgen.overlay.engine import Engine
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.on_chip import ON_CHIP, on_chip
from hwgen.overlay.units import memory
from hwgen.overlay_flow import engine_part
from hwgen.streams import Stream
from hwgen.timing import predict
from tests.network_specs import Conv, Dense, NetworkSpec, Pool
from tests.random_networks import build, frames

ENGINE = Engine(rows=4, columns=3, lanes=4, scratchpad=1 << 12, weights=1 << 10, sums=64, scales=64, bus=4)


def design_of(spec, engine=ENGINE):
    """The design of a described network, its frames, and what ONNX Runtime computes."""
    model = build(spec)
    graph = replace(import_model(model), name="net")
    head, tail = engine_part(graph)
    given = make_frames(graph, frames(spec)).limited(3)
    expected, _ = flow.expected_tensors(graph, model, given)
    return on_chip(graph, head, tail, compile_graph(head, engine, memory=ON_CHIP)), given.hardware, expected


def simulated(design, given, expected, folder, **options):
    folder.mkdir()
    emit(design, folder)
    return simulation.simulate(folder, given, {n: t for n, t in expected.items() if n in design.carriers}, **options)


CONV = Conv(channels=6, kernel=(3, 3), pads=(1, 1, 1, 1))
SPECS = {
    "columns": NetworkSpec(
        size=(12, 6, 2),
        layers=(replace(CONV, kernel=(4, 1), pads=(0, 0, 0, 0)), Pool(operator="MaxPool", kernel=(2, 2), strides=(2, 2))),
    ),
    "classes": NetworkSpec(size=(4, 4, 4), layers=(CONV,), dense=(Dense(channels=5),), ending="Softmax"),
    "no sign": NetworkSpec(size=(5, 5, 1), layers=(replace(CONV, channels=4),), unsigned=True),
}


@pytest.fixture(autouse=True)
def several_banks(monkeypatch):
    """Some of them read only."""
    monkeypatch.setattr(memory, "BANK", 64)


@pytest.mark.parametrize("stalls", [None, 1])
@pytest.mark.parametrize("name", SPECS)
def test_frames(name, stalls, tmp_path):
    design, given, expected = design_of(SPECS[name])
    run = simulated(design, given, expected, tmp_path / "net", stalls=stalls)
    assert not run.mismatches, run.first_mismatch
    assert design.graph.output in design.carriers
    timing = predict(design)
    if stalls is None:
        assert run.latency_cycles == pytest.approx(timing.latency, rel=0.02, abs=20)
        assert run.interval_cycles == pytest.approx(timing.interval, rel=0.02, abs=20)


def test_both_orientations():
    """Of rows and columns; words of a transposed image are of one pixel."""
    params = {name: design_of(spec)[0].stage("overlay_engine").params for name, spec in SPECS.items()}
    assert {name for name, p in params.items() if p.input.transposed} == {"columns"}
    for name, lanes, words in (("no sign", 1, 5 * 5), ("columns", 2, 12 * 6), ("classes", 4, 16)):
        assert params[name].inputs == (Stream(element=params[name].input_type, lanes=lanes, words=words),), name


def test_compute():
    """The template's meaning is the program's."""
    design, given, expected = design_of(SPECS["classes"])
    words = given.reshape(-1, design.input.lanes)
    for stage in design.stages:
        (words,) = stage.compute(words)
    assert (words.reshape(3, -1) == expected[design.graph.output].reshape(3, -1)).all()


def test_a_frame_follows_a_frame(tmp_path):
    """Nothing of one is left in the next: the same frame again gives the same."""
    design, given, expected = design_of(SPECS["no sign"])
    order = [0, 1, 0, 2, 2]
    run = simulated(design, given[order], {n: t[order] for n, t in expected.items()}, tmp_path / "net")
    assert not run.mismatches
    assert np.array_equal(run.output[0], run.output[2])


def test_error():
    params = design_of(SPECS["no sign"])[0].stage("overlay_engine").params
    with pytest.raises(ValueError, match=r"^size must be a multiple of 4 \(bus\), not 7$"):
        replace(params, size=7)


def test_needed_and_accepted():
    """Of a frame's words all before its first output; none of the next frame before its last output has left."""
    params = design_of(SPECS["no sign"])[0].stage("overlay_engine").params
    words, frame = params.outputs[0].words, params.inputs[0].words
    outputs = np.arange(2 * words)
    assert params.needed(outputs).tolist() == [frame] * words + [2 * frame] * words
    assert params.accepted(outputs).tolist() == params.needed(outputs).tolist()
