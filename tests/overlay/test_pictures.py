"""Pictures of programs: what is drawn."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from hwgen.demo import MODEL
from hwgen.frontend import import_model, load_onnx
from hwgen.overlay import pictures
from hwgen.overlay.clock import predict, spans
from hwgen.overlay.compiled import Layer, data_bytes, layers
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Load, Multiply, Store, Unit
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.timing import MemoryTiming, array_cycles
from hwgen.overlay.tokens import accesses
from hwgen.overlay_flow import engine_part
from tests.network_specs import Branch, Conv, Dense, NetworkSpec, Pool
from tests.random_networks import build
from tests.shared_models import MODELS, needs_models

SMALL = Engine(rows=5, columns=3, lanes=4, bus=4, scratchpad=1 << 13, weights=1 << 11, sums=256, scales=256)
WIDE = Engine(rows=16, columns=16, lanes=8, scratchpad=1 << 16, weights=1 << 12, sums=2048, scales=2048)
TIGHT = Engine(rows=4, columns=4, lanes=4, bus=4, scratchpad=2 * 6 * 6 * 32 + 8, weights=1 << 14, sums=2048, scales=2048)
LEFT = Conv(channels=32), Conv(channels=32), Conv(channels=8)
SPILLING = NetworkSpec(
    size=(6, 6, 4), layers=(Conv(channels=8), Branch(join="Add", left=LEFT, right=())), pool="GlobalAveragePool"
)
DENSE = NetworkSpec(
    size=(8, 8, 3),
    layers=(Conv(channels=8, kernel=(3, 3), pads=(1, 1, 1, 1)), Pool(operator="MaxPool", kernel=(2, 2), strides=(2, 2))),
    dense=(Dense(channels=40), Dense(channels=10)),
)
CASES = {
    "digits": (load_onnx(MODEL), SMALL, MemoryTiming()),
    "digits, wide": (load_onnx(MODEL), WIDE, MemoryTiming(latency=60)),
    "spilling": (build(SPILLING), TIGHT, MemoryTiming(silent=4, period=20)),
    "dense": (build(DENSE), SMALL, MemoryTiming()),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Graph, compiled network, spans, layers, memory."""
    return compiled_case(*CASES[request.param])


def compiled_case(model, engine, memory):
    graph, _ = engine_part(import_model(model))
    compiled = compile_graph(graph, engine, memory=memory)
    times = spans(compiled.program, engine, memory)
    return graph, compiled, times, layers(graph, compiled, [end for _, end in times]), memory


def test_spans(case):
    """Of a unit one after the other, none before what it waits for has ended, none shorter than the work."""
    _, compiled, times, _, memory = case
    program, engine = compiled.program, compiled.engine
    assert [end for _, end in times] == predict(program, engine, memory)
    for unit in Unit:
        own = [span for i, span in zip(program, times, strict=True) if i.unit == unit]
        assert all(before <= start for (_, before), (start, _) in pairwise(own))
    for i, (start, end) in zip(program, times, strict=True):
        least = 0
        if isinstance(i, Multiply):
            least = (
                array_cycles(i, engine) * (i.k0_count * i.k1_count * i.k2_count - 1) // (i.k0_count * i.k1_count * i.k2_count)
            )
        elif isinstance(i, Load | Store):
            least = i.rows * -(-i.size // engine.bus)
        assert end - start >= least, i
    assert min(start for i, (start, _) in zip(program, times, strict=True) if isinstance(i, Load)) > 2 * memory.latency
    touched = [list(accesses(i, engine)) for i in program]
    for n, (start, _) in enumerate(times):
        for m in range(n):
            if program[m].unit != program[n].unit and any(a.conflicts(b) for a in touched[m] for b in touched[n]):
                assert times[m][1] < start


def test_layers(case):
    """Every operator in one; instructions, cycles, MACs and bytes add up."""
    graph, compiled, times, found, _ = case
    assert sorted(name for layer in found for name in layer.names) == sorted(node.name for node in graph.nodes)
    for one, other in pairwise([Layer(names=(), macs=0, first=0, stop=0, start=0, end=0), *found]):
        assert (one.stop, one.end) == (other.first, other.start)
    assert found[-1].stop == len(compiled.program) - 1
    assert found[-1].end <= times[-1][1]
    assert sum(data_bytes(compiled, layer.first, layer.stop) for layer in found) == data_bytes(compiled) > 0


@pytest.mark.parametrize("pause", [0, 20, 10**9])
def test_runs(case, pause):
    """All work is in one, of the right layer; they are as few as the pauses allow."""
    _, compiled, times, found, _ = case
    made = pictures.runs(compiled, found, times, pause)
    for unit in Unit:
        own = [(n, *times[n]) for n, i in enumerate(compiled.program) if i.unit == unit]
        mine = [run for run in made if run.unit == unit]
        assert sum(run.busy for run in mine) == sum(end - start for _, start, end in own)
        assert all(one.end <= other.start for one, other in pairwise(mine))
        assert all(other.start - one.end > pause or other.layer != one.layer for one, other in pairwise(mine))
        for n, start, end in own:
            layer = next((k for k, layer in enumerate(found) if layer.first <= n < layer.stop), len(found) - 1)
            assert any(run.start <= start and end <= run.end and run.layer == layer for run in mine)
    assert all(0 <= run.busy <= run.end - run.start for run in made)


def test_stays(case):
    """Rectangles do not overlap; whatever is written or read in the scratchpad begins in the tensor's."""
    graph, compiled, times, _, _ = case
    found = pictures.stays(compiled, times)
    assert {stay.tensor for stay in found} == set(graph.tensors) - compiled.overwritten
    for k, stay in enumerate(found):
        assert 0 <= stay.low < stay.high <= compiled.engine.scratchpad
        assert 0 <= stay.start < stay.end <= times[-1][1]
        for other in found[:k]:
            apart = stay.high <= other.low or other.high <= stay.low
            assert apart or stay.end <= other.start or other.end <= stay.start, (stay, other)
    for i, (start, end) in zip(compiled.program, times, strict=True):
        for access in accesses(i, compiled.engine):
            if access.memory == "scratchpad":
                within = [s for s in found if s.low <= max(0, access.low) < s.high and s.start <= start and end <= s.end]
                assert len(within) == 1, i


def test_a_spilled_tensor_stays_twice():
    _, compiled, times, _, _ = compiled_case(*CASES["spilling"])
    tensors = [stay.tensor for stay in pictures.stays(compiled, times)]
    assert sorted(tensors.count(name) for name in set(tensors)) == [1] * 5 + [2]


def test_points(case):
    """One for each layer with MACs, and none beyond the limits."""
    _, compiled, times, found, _ = case
    made = pictures.points(compiled, found, times)
    assert [p.layer for p in made] == [number for number, layer in enumerate(found) if layer.macs]
    engine = compiled.engine
    for point in made:
        assert 0 < point.reached <= min(engine.rows * engine.columns, engine.bus * point.intensity)
        layer = found[point.layer]
        assert layer.macs / point.reached <= max(e for _, e in times[layer.first : layer.stop])


def test_covered():
    assert pictures._covered([(10, 20), (0, 4), (12, 15), (18, 30), (3, 5)]) == 5 + 20


def test_apart():
    """As wanted where there is room, else around that."""
    assert pictures._apart([1, 2, 3], 1, 0, 10).tolist() == [1, 2, 3]
    assert pictures._apart([5, 5, 5], 1, 0, 10).tolist() == [4, 5, 6]
    assert pictures._apart([0, 0, 10, 10], 2, 0, 10).tolist() == [0, 2, 8, 10]
    wanted = np.sort(np.random.default_rng(1).uniform(0, 10, 30))
    places = pictures._apart(wanted, 0.3, 0, 10)
    assert (np.diff(places) >= 0.3 - 1e-9).all()
    assert places[0] >= 0
    assert places[-1] <= 10


def test_labels():
    def label(*names):
        return pictures._label(Layer(names=names, macs=0, first=0, stop=0, start=0, end=0))

    assert label("conv1", "add0") == "conv1 + add0"
    assert label("/layer1/layer1.0/conv1/Conv") == "…er1/layer1.0/conv1/Conv"
    assert label("a" * 20, "b" * 20, "c") == "a" * 20 + " + 2"
    assert label("卷积\n1") == "???1"


def test_files(case, tmp_path):
    """Well-formed; the same whatever the user's settings, which stay as they are."""
    graph, compiled, _, _, memory = case
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, settings in zip(folders, ({}, {"font.size": 20, "axes.linewidth": 5, "svg.hashsalt": "x"}), strict=True):
        folder.mkdir()
        with matplotlib.rc_context(settings):
            before = matplotlib.rcParams.copy()
            pictures.draw(graph, compiled, memory, folder)
            assert all(matplotlib.rcParams[name] == before[name] for name in before if name != "backend")
    for name in pictures.PICTURES:
        assert ElementTree.parse(folders[0] / name).getroot().tag.endswith("svg")
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


@needs_models
def test_size(tmp_path):
    """Of a program of thousands of instructions."""
    model, engine = load_onnx(MODELS / "kws" / "kws_int8_qdq_nchw.onnx"), replace(WIDE, sums=8)
    graph, compiled, _, _, memory = compiled_case(model, engine, MemoryTiming())
    assert len(compiled.program) > 2500
    pictures.draw(graph, compiled, memory, tmp_path)
    assert max((tmp_path / name).stat().st_size for name in pictures.PICTURES) < 90_000


def test_no_macs(tmp_path):
    layers = (Pool(operator="MaxPool", kernel=(2, 2), strides=(2, 2)),)
    graph, compiled, times, found, memory = compiled_case(
        build(NetworkSpec(size=(8, 8, 3), layers=layers)), SMALL, MemoryTiming()
    )
    assert not pictures.points(compiled, found, times)
    pictures.draw(graph, compiled, memory, tmp_path)


def test_the_command_starts_without_the_plotting_library():
    code = "import sys, hwgen.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
