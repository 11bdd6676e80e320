"""Which operators are carried out together."""

from dataclasses import replace

import numpy as np
import pytest

from hwgen import graph as g
from hwgen.errors import HwgenError
from hwgen.overlay.engine import Engine
from hwgen.overlay.places import unplaced
from hwgen.overlay.schedule import groups, in_place, schedule
from tests.network_specs import Branch, Conv, NetworkSpec, Pool, Unary
from tests.overlay.graphs import conv, network, pool
from tests.overlay.networks import of_spec
from tests.overlay.test_lower import check

ENGINE = Engine(rows=4, columns=4, lanes=4, scratchpad=1 << 14, weights=1 << 12, sums=64, scales=256, bus=4)
POOLING = Pool(operator="MaxPool", kernel=(3, 2), strides=(2, 2), pads=(1, 0, 1, 1))


def linear(name, source, target, channels=4):
    return replace(conv(channels, channels), name=name, inputs=(source,), output=target)


def table(name, source, target):
    return g.Table(name=name, inputs=(source,), output=target, table=np.arange(-128, 128), function="Clip")


def pooled(name, source, target):
    return replace(pool(kernel=(2, 2)), name=name, inputs=(source,), output=target)


def add(name, left, right, target):
    return g.Add(name=name, inputs=(left, right), output=target, lo=-128, hi=127)


def concat(name, left, right, target):
    return g.Concat(name=name, inputs=(left, right), output=target)


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([linear("a", "x", "p"), linear("b", "p", "y")], "a b"),
        ([linear("a", "x", "p"), table("b", "p", "q"), pooled("c", "q", "y")], "abc"),
        ([table("a", "x", "p"), pooled("b", "p", "q"), linear("c", "q", "y")], "ab c"),
        ([linear("a", "x", "p"), linear("b", "p", "q"), add("c", "p", "q", "y")], "a bc"),
        ([linear("a", "x", "p"), linear("b", "p", "q"), add("c", "q", "p", "y")], "a bc"),
        ([linear("a", "x", "p"), linear("b", "x", "q"), table("c", "p", "r"), concat("d", "r", "q", "y")], "a b c d"),
        ([linear("a", "x", "p"), table("b", "p", "q"), concat("c", "p", "q", "r"), table("d", "r", "y")], "ab cd"),
        ([linear("a", "x", "p"), table("b", "p", "q"), pooled("c", "q", "r"), table("d", "r", "y")], "abc d"),
        ([linear("a", "x", "p"), add("b", "p", "x", "q"), table("c", "q", "r"), pooled("d", "r", "y")], "ab cd"),
        ([pooled("a", "x", "y")], "a"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_groups(nodes, wanted):
    """Nodes that work on rows of the node right before them go with it; weighted sums and Concat begin anew."""
    graph = network((4, 4, 4), *nodes)
    assert " ".join("".join(node.name for node in nodes) for nodes in groups(graph)) == wanted


def needs(graph):
    """The bytes of scratchpad that groups and single nodes need at least."""
    places = {name: unplaced(graph, name) for name in graph.tensors}

    others = in_place(groups(graph), graph)

    def spread(group):
        names = {t for n in group for t in (*n.inputs, n.output)}
        inside = {n.output for n in group[:-1]}
        return sum(-(-places[name].size // ENGINE.banks) for name in names if name not in inside or name not in others)

    together = max(map(spread, groups(graph)))
    alone = max(spread([node]) for node in graph.nodes)
    return (together + 2) * ENGINE.banks, (alone + 2) * ENGINE.banks  # 2: spare, see schedule.py


@pytest.mark.parametrize(
    "layers",
    [
        (Conv(channels=8), POOLING, Conv(channels=5)),
        (Conv(channels=8, kernel=(3, 3), pads=(1, 1, 1, 1)), POOLING),
    ],
    ids=["pooling", "pooling at the end"],
)
def test_groups_give_way_to_a_small_scratchpad(layers):
    """As long as the nodes by themselves find room."""
    network = of_spec(NetworkSpec(size=(6, 7, 4), layers=layers))
    graph = network.graph
    together, alone = needs(graph)
    assert alone < together
    places = {name: unplaced(graph, name) for name in graph.tensors}
    one_by_one = [[node] for node in graph.nodes]
    for size, wanted in ((together, groups(graph)), (together - ENGINE.banks, one_by_one), (alone, one_by_one)):
        engine = replace(ENGINE, scratchpad=size)
        assert schedule(graph, engine, places)[0] == wanted
        check(engine, network)
    message = rf": its inputs and output take {alone} bytes .* the scratchpad has {alone - ENGINE.banks}; choose a larger one$"
    with pytest.raises(HwgenError, match=message):
        schedule(graph, replace(ENGINE, scratchpad=alone - ENGINE.banks), places)


@pytest.mark.parametrize(
    "layers",
    [
        (Conv(channels=8, kernel=(3, 3), pads=(1, 1, 1, 1)), Unary(operator="Sigmoid"), Conv(channels=3)),
        (Conv(channels=8), Unary(operator="Tanh"), POOLING, Conv(channels=5)),
        (Conv(channels=8), Branch(join="Add", left=(Conv(channels=8),), right=(Conv(channels=8),))),
        (
            Conv(channels=8),
            Branch(join="Add", left=(Conv(channels=8),), right=(Conv(channels=8),)),
            Conv(channels=4, kernel=(3, 3), pads=(1, 1, 1, 1)),
        ),
    ],
    ids=["table", "table and pooling", "sum", "sum in a border"],
)
def test_results_take_the_place_of_what_they_are_made_of(layers):
    """In a group, so that it takes no more room than its nodes by themselves."""
    network = of_spec(NetworkSpec(size=(6, 7, 4), layers=layers))
    together, alone = needs(network.graph)
    assert together <= alone
    engine = replace(ENGINE, scratchpad=alone)
    assert check(engine, network).overwritten
    places = {name: unplaced(network.graph, name) for name in network.graph.tensors}
    assert schedule(network.graph, engine, places)[0] == groups(network.graph)
    assert schedule(network.graph, engine, places, shared=False)[0] == [[node] for node in network.graph.nodes]


def test_what_is_read_again_keeps_its_place():
    """By another node, or by the same one twice."""
    twice = [linear("a", "x", "p"), table("b", "p", "q"), add("c", "p", "q", "y")]
    assert in_place([twice[:2], twice[2:]], network((4, 4, 4), *twice)) == {}
    doubled = [linear("a", "x", "p"), add("b", "p", "p", "y")]
    assert in_place([doubled], network((4, 4, 4), *doubled)) == {}
    once = [linear("a", "x", "p"), table("b", "p", "y")]
    assert in_place([once], network((4, 4, 4), *once)) == {"p": "y"}
    assert in_place([[node] for node in once], network((4, 4, 4), *once)) == {}


@pytest.mark.parametrize(
    "layers",
    [
        (Conv(channels=8), Unary(operator="Sigmoid"), Unary(operator="Tanh")),
        (Branch(join="Add", left=(Conv(channels=4),), right=()), Unary(operator="Sigmoid")),
    ],
    ids=["tables", "sum and table"],
)
def test_two_operators_with_tables(layers):
    """Not rows of both in turn: there is room for the tables of one."""
    check(ENGINE, of_spec(NetworkSpec(size=(6, 7, 4), layers=layers)))
