"""Which operators of a network an engine carries out, and what is left for the host."""

from dataclasses import replace

import numpy as np

from ..errors import HwgenError
from ..graph import ArgMax, Graph, Softmax
from ..mapping.operators import operator
from ..reference import run_graph

__all__ = ["engine_part", "host_part"]


def engine_part(graph: Graph) -> tuple[Graph, Graph | None]:
    """What the engine does, and what the host does with its output: a softmax or the highest class at the end."""
    nodes = list(graph.nodes)
    while nodes and isinstance(nodes[-1], Softmax | ArgMax):
        nodes.pop()
    if not nodes:
        raise HwgenError("nothing is left for the overlay: the network must have more than a softmax; use --style dataflow")
    if len(nodes) == len(graph.nodes):
        return graph, None
    middle = nodes[-1].output
    first, last = tuple(nodes), graph.nodes[len(nodes) :]
    ends = {node.output for node in last}
    head = {name: t for name, t in graph.tensors.items() if name not in ends}
    tail = {name: t for name, t in graph.tensors.items() if name in ends | {middle}}
    return replace(graph, nodes=first, tensors=head, output=middle), replace(graph, nodes=last, tensors=tail, input=middle)


def host_part(tail: Graph | None, graph: Graph, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors of what is left for the host; ``outputs`` (N, H, W, C): the engine's. None where nothing is left."""
    if tail is None:
        return {}
    return run_graph(tail, tuple(operator(node, graph) for node in tail.nodes), outputs)
