"""One class for each kind of graph node: how it unrolls, and the templates it becomes."""

from ...errors import HwgenError
from ...graph import AveragePool, Conv, Dense, GlobalAveragePool, Graph, MatMul, MaxPool, Node
from .base import Block, Operator, Unrolling
from .elementwise import ElementwiseOperator
from .linear import LinearOperator
from .pooling import GlobalAverageOperator, WindowPoolOperator
from .requantiser import Formats

__all__ = ["Block", "Formats", "Operator", "Unrolling", "operator"]


def operator(node: Node, graph: Graph, formats: Formats | None = None) -> Operator:
    """The operator of a node, its exact arithmetic worked out. Add a line here to add an operator.

    ``formats``: of hardware that takes other weights and scales; None: only these. ``HwgenError`` where no template serves it.
    """
    match node:
        case Conv() | Dense():
            return LinearOperator(node, graph, formats)
        case MatMul():
            raise HwgenError(
                f"{node.name}: a dataflow accelerator multiplies activations with constants only, not with other activations; "
                "use --style overlay"
            )
        case MaxPool() | AveragePool():
            return WindowPoolOperator(node, graph, formats)
        case GlobalAveragePool():
            return GlobalAverageOperator(node, graph, formats)
        case _:
            return ElementwiseOperator(node, graph, formats)  # type: ignore[arg-type]
