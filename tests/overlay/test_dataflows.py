"""Cycles of arrays: weight stationary ones as compiled programs have them, output stationary ones tile by tile."""

import numpy as np
import pytest

from hwgen.frontend import import_model
from hwgen.graph import Conv, Linear
from hwgen.overlay.dataflows import operators
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Multiply
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.timing import GAP, array_cycles
from hwgen.overlay.work import work_of
from hwgen.overlay_flow import engine_part
from tests import network_specs as specs
from tests.random_networks import build

SPEC = specs.NetworkSpec(
    size=(10, 8, 3),
    layers=(
        specs.Conv(channels=12, kernel=(3, 3), pads=(1, 1, 1, 1)),
        specs.Conv(channels=12, kernel=(3, 3), groups=12, strides=(2, 2), pads=(1, 1, 1, 1)),
        specs.Conv(channels=20),
        specs.Conv(channels=20, kernel=(1, 3), groups=4),
    ),
    dense=(specs.Dense(channels=11),),
)
ARRAYS = [(1, 1), (2, 5), (3, 4), (4, 12), (9, 8), (16, 16), (5, 3)]


@pytest.fixture(scope="module")
def graph():
    return engine_part(import_model(build(SPEC)))[0]


@pytest.fixture(scope="module")
def found(graph):
    rows, columns = np.array(ARRAYS).T
    return operators(graph, rows, columns)


@pytest.mark.parametrize("number", range(len(ARRAYS)), ids=str)
def test_weights_stay_as_in_programs(graph, found, number):
    """But that a program's bands may be smaller than a tile's weights are long."""
    rows, columns = ARRAYS[number]
    engine = Engine(
        rows=rows, columns=columns, taps=min(3, rows), lanes=4, scratchpad=1 << 14, weights=1 << 12, sums=1 << 10, scales=1 << 8
    )
    program = compile_graph(graph, engine).program
    made = sum(array_cycles(i, engine) for i in program if isinstance(i, Multiply))
    predicted = sum(int(o.cycles["weight"][number]) for o in found)
    assert predicted <= made <= predicted * 1.1
    assert predicted == sum(int(w.array[number]) for w in work_of(graph, *np.array(ARRAYS).T))


@pytest.mark.parametrize("number", range(len(ARRAYS)), ids=str)
def test_outputs_stay_tile_by_tile(graph, found, number):
    rows, columns = ARRAYS[number]
    linear = [n for n in graph.nodes if isinstance(n, Linear)]
    for operator, node in zip(found, linear, strict=True):
        height, width, channels = graph.tensors[node.output].shape
        groups = node.groups if isinstance(node, Conv) and not node.depthwise else 1
        cycles = 0
        for _ in range(groups):
            for first in range(0, height * width, rows):
                for _ in range(0, channels // groups, columns):
                    leaving = min(rows, height * width)
                    cycles += max(node.weights[0].size, leaving, GAP) if first >= 0 else 0
        assert operator.cycles["output"][number] == cycles
        assert operator.macs == height * width * channels * node.weights[0].size


def test_what_comes_before(found):
    """A chain."""
    assert [o.before for o in found] == [(), (0,), (1,), (2,), (3,)]


def test_both_inputs_of_an_addition_come_before():
    branch = specs.Branch(join="Add", left=(specs.Conv(channels=8), specs.Conv(channels=8)), right=(specs.Conv(channels=8),))
    spec = specs.NetworkSpec(size=(6, 6, 4), layers=(specs.Conv(channels=8), branch), dense=(specs.Dense(channels=3),))
    graph = engine_part(import_model(build(spec)))[0]
    one = np.array([4])
    found = operators(graph, one, one)
    assert len(found) == 5
    assert (found[0].before, found[-1].before) == ((), (3,))
    assert max(len(o.before) for o in found) == 2  # the convolution that the addition follows in step
    assert all(k < number for number, o in enumerate(found) for k in o.before)
