"""Forks, FIFOs and width converters between chains of templates."""

import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.graph import Concat, Graph, HostTensor, Layout, MaxPool, QuantType, Table, Tensor
from hwgen.mapping.operators import Unrolling, operator
from hwgen.mapping.plan import plan
from hwgen.reference import run_design, run_graph
from hwgen.templates.fifo import FifoParams
from hwgen.templates.width import WidthParams

BYTE = QuantType(integer=IntType(8), scale=0.5, zero_point=0)


def tensor(name, height, width, channels):
    return Tensor(name=name, shape=(height, width, channels), type=BYTE)


def host(name, shape):
    height, width, channels = shape
    return HostTensor(name=name, layout=Layout(axes=(2, 0, 1), shape=(1, channels, height, width)), dtype="int8")


def graph(nodes, *tensors):
    return Graph(
        name="net",
        nodes=nodes,
        tensors={t.name: t for t in tensors},
        input=tensors[0].name,
        output=tensors[-1].name,
        host_input=host("x", tensors[0].shape),
        host_output=host("y", tensors[-1].shape),
    ).check()


def pool(name, source, result, **geometry):
    return MaxPool(name=name, inputs=(source,), output=result, **geometry)


def table(name, source, result):
    return Table(name=name, inputs=(source,), output=result, table=np.arange(-128, 128)[::-1].copy(), function="Negate")


def diamond():
    """Two 3×3 poolings on one branch, nothing but a table on the other."""
    same = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    return graph(
        (
            pool("pool0", "x", "a", **same),
            pool("pool1", "a", "b", **same),
            table("table0", "x", "c"),
            Concat(name="concat0", inputs=("b", "c"), output="y"),
        ),
        *(tensor(n, 6, 5, c) for n, c in (("x", 4), ("a", 4), ("b", 4), ("c", 4), ("y", 8))),
    )


def planned(net, **lanes):
    ops = [operator(n, net) for n in net.nodes]
    return plan(net, tuple(op.blocks(Unrolling(lanes=lanes.get(op.node.name, 1))) for op in ops)), ops


@pytest.mark.parametrize("lanes", [{}, {"pool0": 2, "pool1": 4, "table0": 1, "concat0": 2}])
def test_a_design_computes_the_graph(lanes):
    net = diamond()
    design, ops = planned(net, **lanes)
    frames = np.random.default_rng(1).integers(-128, 128, (3, 6, 5, 4))
    plain, mapped = run_graph(net, ops, frames), run_design(design, frames)
    assert all((plain[name] == mapped[name]).all() for name in net.tensors)


def test_the_short_branch_gets_the_long_ones_delay():
    design, _ = planned(diamond())
    depths = {s.name: s.params.depth for s in design.stages if isinstance(s.params, FifoParams)}
    # Two line buffers of 3×3 windows hold back at least two rows and two pixels of four channels.
    assert depths["x_fork_fifo1"] >= 2 * (5 + 1) * 4
    assert depths.get("x_fork_fifo0", 0) <= 16


def test_a_fifo_holds_what_the_other_branch_needs_for_every_word():
    design, _ = planned(diamond())
    by_name = {s.name: s for s in design.stages}
    k = np.arange(3 * by_name["concat0_join"].params.outputs[0].words)
    needed = by_name["concat0_join"].params.needed(k, 0)
    for name in ("pool1_max", "pool1_window", "pool0_max", "pool0_window"):
        needed = np.where(needed > 0, by_name[name].params.needed(np.maximum(needed - 1, 0)), 0)
    own = by_name["concat0_join"].params.needed(k, 1)
    own = np.where(own > 0, by_name["table0_table"].params.needed(np.maximum(own - 1, 0)), 0)
    assert by_name["x_fork_fifo1"].params.depth >= (needed - own).max() > 0


def test_widths_are_converted_by_way_of_their_common_multiple():
    net = graph((table("table0", "x", "a"), table("table1", "a", "y")), *(tensor(n, 2, 2, 12) for n in ("x", "a", "y")))
    design, ops = planned(net, table0=4, table1=6)
    widths = [(s.params.inputs[0].lanes, s.params.lanes) for s in design.stages if isinstance(s.params, WidthParams)]
    assert widths == [(4, 12), (12, 6)]
    frames = np.random.default_rng(2).integers(-128, 128, (2, 2, 2, 12))
    assert (run_design(design, frames)["y"] == run_graph(net, ops, frames)["y"]).all()


def test_nested_forks():
    """A fork inside a branch of another: the outer FIFO counts what the inner ones hold."""
    same = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    shapes = {"x": 2, "a": 2, "b": 2, "c": 4, "d": 2, "y": 6}
    net = graph(
        (
            pool("pool0", "x", "a", **same),
            pool("pool1", "a", "b", **same),
            Concat(name="concat0", inputs=("a", "b"), output="c"),
            table("table0", "x", "d"),
            Concat(name="concat1", inputs=("c", "d"), output="y"),
        ),
        *(tensor(n, 6, 5, c) for n, c in shapes.items()),
    )
    design, _ = planned(net)
    depths = {s.name: s.params.depth for s in design.stages if isinstance(s.params, FifoParams)}
    assert depths["x_fork_fifo1"] >= 2 * (5 + 1) * 2
    assert depths["a_fork_fifo1"] >= (5 + 1) * 2
