"""The same network with height and width exchanged."""

from dataclasses import replace
from typing import Any

from ..graph import AveragePool, Conv, Dense, Graph, MatMul, MaxPool, Node, Pad

__all__ = ["transposable", "transposed"]


def transposable(graph: Graph) -> bool:
    """Whether there is another one, transposed: not where the order of pixels counts, as for products of activations."""
    square = all(tensor.shape[0] == tensor.shape[1] for tensor in graph.tensors.values())
    return not square and not any(isinstance(node, MatMul) for node in graph.nodes)


def transposed(graph: Graph) -> Graph:
    """Of every image the columns as rows: (W, H, C). Kernels, strides and pads go along; outputs are the same integers.

    Rows of the input that are longer need fewer instructions and tiles: the elements of a window's row follow each other.
    """
    tensors = {name: replace(t, shape=(t.shape[1], t.shape[0], t.shape[2])) for name, t in graph.tensors.items()}
    return replace(graph, nodes=tuple(_node(node, graph) for node in graph.nodes), tensors=tensors)


def _node(node: Node, graph: Graph) -> Node:
    match node:
        case Conv():
            return replace(node, weights=node.weights.transpose(0, 1, 3, 2), **_exchanged(node))
        case MaxPool() | AveragePool():
            return replace(node, **_exchanged(node))
        case Pad():
            top, left, bottom, right = node.pads
            return replace(node, pads=(left, top, right, bottom))
        case Dense():
            height, width, channels = graph.tensors[node.inputs[0]].shape
            columns = node.weights.reshape(-1, height, width, channels).transpose(0, 2, 1, 3)
            return replace(node, weights=columns.reshape(node.weights.shape))
        case _:
            return node


def _exchanged(node: Conv | MaxPool | AveragePool) -> dict[str, Any]:
    top, left, bottom, right = node.pads
    names = ("kernel", "strides") if isinstance(node, AveragePool) else ("kernel", "strides", "dilations")
    pairs: dict[str, Any] = {name: getattr(node, name)[::-1] for name in names}
    return pairs | {"pads": (left, top, right, bottom)}
