"""The MLPerf Tiny networks and the digits: reference, mapped design and solver, on the real files."""

import numpy as np
import pytest

from hwgen.board import load_board
from hwgen.choosing import choose
from hwgen.flow import read_graph
from hwgen.frontend import load_onnx, reference_model
from hwgen.inputs import load_frames
from hwgen.mapping.candidates import operators
from hwgen.oracle import Oracle
from hwgen.reference import run_design, run_graph

from ..shared_models import FILES, MODELS, needs_models

pytestmark = needs_models
FRAMES = {"ad": 16, "digits": 40}  #: of the samples; the rest of the networks: 2. All of them: benchmarks/exactness.py
#: Initiation intervals that 156 multipliers reach when unrollings need not divide the channels.
INTERVALS = {"ic": 86_016, "vww": 55_296, "kws": 19_250, "ad": 1_792}


def load(file):
    path = MODELS / file
    model = load_onnx(path)
    graph = read_graph(model, path)
    frames = load_frames(path.parent / "samples.npz", graph).limited(FRAMES.get(path.parent.name, 2))
    return model, graph, frames


@pytest.mark.parametrize("file", FILES)
def test_reference_equals_onnx_runtime(file):
    model, graph, frames = load(file)
    aliases = [(t, a) for t in graph.tensors.values() for a in t.aliases]
    expected = Oracle(reference_model(model)).run(frames.model, [a.name for _, a in aliases])
    got = run_graph(graph, operators(graph), frames.hardware)
    for tensor, alias in aliases:
        wanted = alias.layout.from_onnx(expected[alias.name].astype(np.int64), tensor.shape)
        wrong = np.argwhere(got[tensor.name] != wanted)
        assert not len(wrong), f"{tensor.name} ({alias.name}) differs at {wrong[:3].tolist()} and {len(wrong)} places in all"


@pytest.mark.parametrize("network", INTERVALS)
def test_solver_reaches_the_interval(network):
    board = load_board("ulx3s-85f")
    _, graph, frames = load(f"{network}/{network}_int8_qdq_nchw.onnx")
    choice = choose(graph, board, "throughput", None, dsp_only=True)
    assert choice.solution.proven
    assert choice.timing.interval == choice.solution.interval == INTERVALS[network]
    multipliers = sum(op.multipliers(c.unrolling) for op, c in zip(choice.operators, choice.candidates, strict=True))
    macs = sum(op.macs for op in choice.operators)
    assert multipliers <= 156
    assert macs / (multipliers * choice.timing.interval) >= 0.85
    budget = board.limits
    assert all(getattr(choice.resources, r) <= getattr(budget, r) for r in ("lut", "ff", "dsp", "bram"))
    plain = run_graph(graph, choice.operators, frames.hardware[:1])
    mapped = run_design(choice.design, frames.hardware[:1])
    assert all((plain[name] == mapped[name]).all() for name in graph.tensors)
