"""One class for each kind of graph node: how it unrolls, and the templates it becomes."""

from ...graph import AveragePool, Conv, Dense, GlobalAveragePool, Graph, MaxPool, Node
from .base import Block, Operator, Unrolling
from .elementwise import ElementwiseOperator
from .linear import LinearOperator
from .pooling import GlobalAverageOperator, WindowPoolOperator

__all__ = ["Block", "Operator", "Unrolling", "operator"]


def operator(node: Node, graph: Graph) -> Operator:
    """The operator of a node, its exact arithmetic worked out. Add a line here to add an operator."""
    match node:
        case Conv() | Dense():
            return LinearOperator(node, graph)
        case MaxPool() | AveragePool():
            return WindowPoolOperator(node, graph)
        case GlobalAveragePool():
            return GlobalAverageOperator(node, graph)
        case _:
            return ElementwiseOperator(node, graph)  # type: ignore[arg-type]
