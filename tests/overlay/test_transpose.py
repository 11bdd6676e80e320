"""Networks with height and width exchanged: other instructions, the same integers."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen import graph as g
from hwgen.demo import MODEL
from hwgen.frontend import import_model, load_onnx
from hwgen.overlay import lower
from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Multiply
from hwgen.overlay.lower import compile_graph
from hwgen.overlay.timing import array_cycles
from hwgen.overlay.transpose import transposed
from tests.network_specs import Branch, Conv, Dense, NetworkSpec, Pool
from tests.overlay.graphs import conv, network, pool
from tests.overlay.networks import of_spec
from tests.overlay.test_lower import check

ENGINE = Engine(rows=5, columns=4, lanes=2, scratchpad=1 << 14, weights=1 << 13, sums=64, scales=256, bus=8)

CONV = Conv(channels=6, kernel=(3, 2), strides=(2, 1), pads=(1, 0, 2, 1))
BY_CHANNEL = Conv(channels=6, kernel=(2, 3), strides=(1, 2), pads=(0, 2, 1, 1), groups=0)
DILATED = Conv(channels=5, kernel=(2, 3), dilations=(3, 1), pads=(2, 1, 0, 2))
IN_GROUPS = Conv(channels=4, kernel=(1, 3), groups=2, pads=(0, 1, 0, 0))
OF_INPUT = replace(CONV, scale="of the input")  # so that both parts of a Concat have one scale
POOL = Pool(operator="MaxPool", kernel=(2, 3), strides=(1, 2), pads=(1, 0, 0, 2))
NETWORKS = {
    "pads and strides": NetworkSpec(size=(9, 5, 3), layers=(CONV, BY_CHANNEL)),
    "dilation and groups": NetworkSpec(size=(6, 11, 4), layers=(IN_GROUPS, DILATED)),
    "dense after an image": NetworkSpec(size=(7, 4, 3), layers=(CONV,), dense=(Dense(channels=9), Dense(channels=5))),
    "dense after a border": NetworkSpec(size=(4, 7, 3), layers=(POOL, POOL), dense=(Dense(channels=5),), unsigned=True),
    "pooling": NetworkSpec(size=(8, 5, 3), layers=(CONV, POOL), pool="GlobalAveragePool", dense=(Dense(channels=5),)),
    "joins": NetworkSpec(
        size=(5, 8, 3),
        layers=(
            Branch(join="Concat", left=(OF_INPUT,), right=(replace(OF_INPUT, channels=2),)),
            Branch(join="Add", left=(replace(CONV, channels=8, strides=(1, 1), kernel=(4, 2)),), right=()),
        ),
        unsigned=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("spec", NETWORKS.values(), ids=NETWORKS)
def test_the_same_integers(spec, monkeypatch):
    """In both orientations, each tensor as ONNX Runtime has it."""
    case = of_spec(spec)
    for turned in (False, True):
        order = iter((1, 0) if turned else (0, 1))  # what compile_graph compares: those of this one, of the other one
        monkeypatch.setattr(lower, "_array_cycles", lambda compiled, order=order: next(order))
        assert check(ENGINE, case).transposed == turned


@pytest.mark.parametrize("shape", [(12, 2), (2, 12)])
def test_the_better_orientation(shape):
    """Rows that are longer need fewer tiles; for squares there is nothing to choose."""
    graph = network((*shape, 2), conv(4, 2, 3, pads=(1, 1, 1, 1)))
    kernel = replace(graph.nodes[0], kernel=(6, 1), weights=np.ones((4, 2, 6, 1), np.int64), pads=(0, 0, 5, 0))
    graph = replace(graph, nodes=(kernel,)).check()
    ways = [_cycles(graph), _cycles(transposed(graph))]
    assert _cycles(graph) == min(ways)
    compiled = compile_graph(graph, ENGINE)
    assert compiled.transposed
    assert not compile_graph(transposed(graph), ENGINE).transposed
    assert not compile_graph(network((4, 4, 2), conv(4, 2, 3, pads=(1, 1, 1, 1))), ENGINE).transposed


def _cycles(graph):
    return sum(array_cycles(i, ENGINE) for i in compile_graph(graph, ENGINE).program if isinstance(i, Multiply))


@pytest.mark.parametrize(
    "graph",
    [
        *(of_spec(spec).graph for spec in NETWORKS.values()),
        import_model(load_onnx(MODEL)),
        network((5, 4, 3), pool(kernel=(2, 3), strides=(2, 1), dilations=(1, 2), pads=(0, 1, 1, 0))),
    ],
    ids=[*NETWORKS, "digits", "dilated pooling"],
)
def test_twice_is_nothing(graph):
    once = transposed(graph).check()
    assert {n: t.shape for n, t in once.tensors.items()} == {
        n: (t.shape[1], t.shape[0], t.shape[2]) for n, t in graph.tensors.items()
    }
    again = transposed(once)
    assert again.tensors == graph.tensors
    for before, after in zip(graph.nodes, again.nodes, strict=True):
        assert type(before) is type(after)
        if isinstance(before, g.Linear):
            assert (before.weights == after.weights).all()
        if isinstance(before, g.Conv | g.MaxPool):
            names = "kernel", "strides", "dilations", "pads"
            assert [getattr(before, n) for n in names] == [getattr(after, n) for n in names]
