"""Products of two activations: the second one's elements become weights, by way of the scratchpad and external memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..errors import HwgenError
from ..graph import Graph, MatMul
from .engine import Engine
from .exact import stored
from .isa import Place
from .places import Placed
from .tiles import Loops, Part, portions

__all__ = ["Matrices", "Staging", "matrices", "multiplications", "repeated"]

COPIES = 2  #: of what is on its way: one is made while the one before is stored


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """A tensor in the scratchpad as rows of all groups, one behind the other in steps of equal size.

    Parameters
    ----------
    start
        Address of the first element.
    step
        Bytes from row to row.
    group
        Bytes from group to group.
    """

    start: int
    step: int
    group: int

    def at(self, row: int, group: int, element: int) -> int:
        """Address of an element."""
        return self.start + row * self.step + group * self.group + element


def matrices(node: MatMul, name: str, place: Placed, rows: int) -> Matrices:
    """An operand of ``rows`` rows; ``HwgenError`` where a border lies between them."""
    height, width, channels = place.shape
    run = height * width * channels // rows
    if rows != height and place.row != width * channels:
        raise HwgenError(
            f"{node.name}: rows of its operand {name} are pixels in a border that another operator wants; put an operator "
            "between them, such as a 1x1 convolution"
        )
    return Matrices(start=place.at(0, 0), step=place.row if rows == height else run, group=run // node.groups)


def repeated(value: int) -> tuple[int, int]:
    """An int8 and how many times it is ``value``, which is in -127..128."""
    return (value, 1) if value < 128 else (64, 2)


def zero_points(node: MatMul, graph: Graph) -> tuple[int, int]:
    """Of both operands as they are stored."""
    first, second = (graph.tensors[name].type.zero_point - stored(graph, name) for name in node.inputs)
    return first, second


def multiplications(node: MatMul, graph: Graph) -> int:
    """How many times the array goes through all tiles: once, and for each zero point that is not 0."""
    return 1 + sum(repeated(-zero)[1] for zero in zero_points(node, graph) if zero)


@dataclass(frozen=True, eq=False)
class Staging:
    """How the second operand of a product becomes weights: room in the scratchpad for :data:`COPIES` of a portion.

    Behind them lies a row of the array of the first operand's zero point.
    """

    graph: Graph
    engine: Engine
    node: MatMul

    @property
    def rows(self) -> int:
        """Of the first operand."""
        return self.graph.tensors[self.node.output].shape[0]

    @property
    def outputs(self) -> int:
        """Of each group."""
        return self.graph.tensors[self.node.output].shape[2]

    @property
    def zeros(self) -> tuple[int, int]:
        """As :func:`zero_points`."""
        return zero_points(self.node, self.graph)

    @cached_property
    def parts(self) -> list[tuple[int, int, list[Part]]]:
        """Group, first output in it, and portions: parts of one shape have the same, but for where they begin."""
        return list(self._parts())

    def _parts(self) -> Iterator[tuple[int, int, list[Part]]]:
        rows, columns, depth = self.engine.rows, self.engine.columns, self.node.depth
        tiles = -(-depth // rows)
        loops = Loops(counts=(1, 1, tiles), steps=(0, 0, rows if tiles > 1 else 0))
        words = np.zeros((tiles * rows, columns), np.int8)
        whole = Part(first=0, count=columns, x_step=0, loops=loops, weights=words)
        pieces = portions(self.node.name, whole, self.engine)
        for group in range(self.node.groups):
            for first in range(0, self.outputs, columns):
                count = min(columns, self.outputs - first)
                yield group, first, [replace(piece, first=group * self.outputs + first, count=count) for piece in pieces]

    def entries(self, portion: Part) -> int:
        """Of a portion, that are elements of the operand: the others are zero."""
        return min(self.node.depth - portion.ahead, len(portion.weights))

    def bytes_of(self, portion: Part) -> int:
        """Of a portion as a Load wants it in external memory."""
        share = self.engine.entries_of(Place.WEIGHTS)
        return -(-len(portion.weights) // share) * self.engine.beats_of(Place.WEIGHTS) * self.engine.bus

    @property
    def copy(self) -> int:
        """Bytes of a copy."""
        return max(self.bytes_of(portion) for portion in self.parts[0][2])

    @property
    def bytes(self) -> int:
        """In the scratchpad."""
        return COPIES * self.copy + self.engine.rows
