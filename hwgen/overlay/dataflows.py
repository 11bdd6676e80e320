"""Cycles of operators on arrays of multipliers in which weights stay, as in the overlay's, or outputs."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..graph import AveragePool, Conv, GlobalAveragePool, Graph, Linear, MatMul, Node
from .compiled import macs_of
from .schedule import groups
from .timing import GAP
from .work import work_of

__all__ = ["DATAFLOWS", "Dataflow", "Operator", "operators"]

Dataflow = Literal["weight", "output"]
DATAFLOWS: tuple[Dataflow, ...] = ("weight", "output")


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """What an array carries out at once: a weighted sum, and what follows it in the vector unit meanwhile.

    Parameters
    ----------
    macs
        Multiplications.
    before
        Numbers of the operators whose results it reads, through others that need no array.
    cycles
        For each dataflow and array (A,): in which the array is at work.
    """

    name: str
    macs: int
    before: tuple[int, ...]
    cycles: dict[Dataflow, np.ndarray]


def operators(graph: Graph, rows: np.ndarray, columns: np.ndarray) -> list[Operator]:
    """Those of a network that take an array's time, in order.

    Weights stay: ``work.py`` has the cycles. Outputs stay: each multiplier adds up one output; a row of the array has a
    position, a column an output channel. A tile of rows × columns outputs takes a cycle for each element of the window;
    meanwhile the tile before leaves, a row in each cycle. As in the overlay's array operands reach all rows or columns at once,
    so tiles follow each other without a gap. Of depthwise operators each multiplier has an activation of its own, handed on
    from neighbour to neighbour (ShiDianNao, ISCA 2015). Bus, vector unit and the way from engine to engine are left out.
    """
    made: list[Operator] = []
    sources: dict[str, tuple[int, ...]] = {graph.input: ()}  # of each tensor the operators that its making waits for
    for nodes, work in zip(groups(graph), work_of(graph, rows, columns), strict=True):
        outputs = {node.output for node in nodes}
        before = sorted({k for node in nodes for name in node.inputs if name not in outputs for k in sources[name]})
        if isinstance(nodes[0], Linear | MatMul | GlobalAveragePool | AveragePool):
            cycles: dict[Dataflow, np.ndarray] = {"weight": work.array, "output": _outputs_stay(nodes[0], graph, rows, columns)}
            made.append(
                Operator(name=nodes[0].name, macs=sum(macs_of(n, graph) for n in nodes), before=tuple(before), cycles=cycles)
            )
            before = [len(made) - 1]
        sources |= dict.fromkeys(outputs, tuple(before))
    return made


def _outputs_stay(node: Node, graph: Graph, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    height, width, channels = graph.tensors[node.output].shape
    positions, several, steps = height * width, 1, 0
    match node:
        case GlobalAveragePool():
            steps = graph.tensors[node.inputs[0]].elements // channels
        case AveragePool():
            steps = node.kernel[0] * node.kernel[1]
        case Conv() if node.depthwise and len(node.weights) == node.groups:
            steps = node.weights[0].size
        case MatMul():
            positions, several, steps = height, width, node.depth
            channels *= several
        case Linear():
            several = node.groups if isinstance(node, Conv) else 1
            steps = node.weights[0].size
    tiles = several * -(-positions // rows) * -(-(channels // several) // columns)
    return tiles * np.maximum(np.maximum(steps, np.minimum(rows, positions)), GAP)
