"""When each tensor lies where in the scratchpad."""

from ..errors import HwgenError
from ..graph import Graph
from ..ilp.scratchpad import InfeasibleError, Operator, Problem, Schedule, Tensor, solve
from .engine import Engine
from .places import Placed

__all__ = ["schedule"]

SECONDS = 5  #: deterministic time limit


def schedule(graph: Graph, engine: Engine, places: dict[str, Placed]) -> Schedule:
    """The least traffic, in words of the banks, tensors numbered as in ``places``; ``HwgenError`` where there is no room."""
    banks = engine.banks
    number = {name: k for k, name in enumerate(places)}
    tensors = tuple(
        Tensor(size=-(-place.size // banks), external=name == graph.input, output=name == graph.output)
        for name, place in places.items()
    )
    operators = tuple(
        Operator(inputs=tuple(dict.fromkeys(number[i] for i in n.inputs)), outputs=(number[n.output],)) for n in graph.nodes
    )
    spare = 2 * banks  # tiles may read beyond a tensor's end
    budget = max(1, (engine.scratchpad - spare) // banks)
    try:
        return solve(Problem(tensors=tensors, operators=operators, budget=budget), SECONDS)
    except InfeasibleError as error:
        node, needed = graph.nodes[error.operator], error.needed * banks + spare
        raise HwgenError(
            f"{node.name}: its inputs and output take {needed} bytes with borders and {spare} spare ones, and the "
            f"scratchpad has {engine.scratchpad}; choose a larger one"
        ) from None
