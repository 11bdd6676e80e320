"""Operators whose tensors are too large for the scratchpad: bands of rows pass through buffers in it, one after the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..graph import AveragePool, Conv, Dense, GlobalAveragePool, Graph, MaxPool, Node, Pad
from .engine import Engine
from .places import Placed, shares, unplaced

__all__ = ["Stream", "needed", "stream_of"]

WAIT = 1.5  #: times as long, about, where a band cannot come while the one before is worked on
SPARE = 1.5  #: times as many bytes may move so that what lies in the scratchpad can stay


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """How an operator's tensors pass through the scratchpad.

    Parameters
    ----------
    outside
        Names of those that do; the others lie there as a whole.
    rows
        Of a band of the output, at most; of the input where an output is made of all of it.
    copies
        Buffers of each tensor: with two, a band comes while the one before is worked on.
    """

    graph: Graph
    engine: Engine
    node: Node
    outside: tuple[str, ...]
    rows: int
    copies: int

    @property
    def sums_all(self) -> bool:
        """Whether every output is made of the whole image: bands are of the input."""
        return isinstance(self.node, Dense | GlobalAveragePool)

    @property
    def bands(self) -> list[tuple[int, int]]:
        """(first, last) rows of each."""
        height = self.graph.tensors[self.node.inputs[0] if self.sums_all else self.node.output].shape[0]
        return [(start, start + count) for start, count in shares(height, -(-height // self.rows))]

    def span(self, name: str, start: int, stop: int) -> tuple[int, int]:
        """The first row of a tensor that a band needs or makes, and the one after the last; some may lie in the border."""
        node = self.node
        if self.sums_all:
            return (start, stop) if name == node.inputs[0] else (0, 1)
        if name not in node.inputs:
            return start, stop
        match node:
            case Conv() | MaxPool() | AveragePool():
                dilation = 1 if isinstance(node, AveragePool) else node.dilations[0]
                first = start * node.strides[0] - node.pads[0]
                return first, first + (stop - start - 1) * node.strides[0] + (node.kernel[0] - 1) * dilation + 1
            case Pad():
                height = self.graph.tensors[name].shape[0]
                first = min(max(start - node.pads[0], 0), height)
                return first, min(max(stop - node.pads[0], first), height)
            case _:
                return start, stop

    def place(self, name: str) -> Placed:
        """At address 0: what is read in the border that this operator wants, what is made in none."""
        return unplaced(self.graph, name, (self.node,))

    def size(self, name: str) -> int:
        """Bytes of a buffer, and of what tiles may read beyond its end."""
        rows = max(1, *(last - first for first, last in (self.span(name, *band) for band in self.bands)))
        banks = self.engine.banks
        return (-(-rows * self.place(name).row // banks) + 2) * banks

    @property
    def bytes(self) -> int:
        """Of all buffers."""
        return self.copies * sum(self.size(name) for name in self.outside)

    def buffers(self) -> dict[str, list[int]]:
        """Offsets of each tensor's."""
        found, offset = {}, 0
        for name in self.outside:
            size = self.size(name)
            found[name] = [offset + k * size for k in range(self.copies)]
            offset += self.copies * size
        return found

    @property
    def moved(self) -> int:
        """Bytes that come and go, with the rows that come twice."""
        total = 0
        for name in self.outside:
            height, width, channels = self.graph.tensors[name].shape
            for band in self.bands:
                first, last = self.span(name, *band)
                total += max(0, min(last, height) - max(first, 0)) * width * channels
        return total

    @property
    def worth(self) -> float:
        """The less, the better."""
        return self.moved * (1 if self.copies > 1 else WAIT)


def stream_of(graph: Graph, engine: Engine, node: Node, outside: tuple[str, ...], room: int, alive: int) -> Stream | None:
    """The best one that ``room`` bytes are enough for; None where they are not.

    Parameters
    ----------
    alive
        Bytes of tensors that would lie there meanwhile, if there is room for them too.
    """
    best = [
        min(_largest(graph, engine, node, outside, size), key=lambda s: s.worth, default=None) for size in (room - alive, room)
    ]
    beside, alone = best
    if beside is not None and alone is not None and beside.worth <= SPARE * alone.worth:
        return beside
    return alone


def needed(graph: Graph, engine: Engine, node: Node, outside: tuple[str, ...]) -> int:
    """The fewest bytes of buffers."""
    return Stream(graph=graph, engine=engine, node=node, outside=outside, rows=1, copies=1).bytes


def _largest(graph: Graph, engine: Engine, node: Node, outside: tuple[str, ...], room: int) -> Iterator[Stream]:
    """With as many rows as there is room for: two buffers of each tensor, and one."""
    for copies in (2, 1):

        def of(rows: int, copies: int = copies) -> Stream:
            return Stream(graph=graph, engine=engine, node=node, outside=outside, rows=rows, copies=copies)

        low, high = 0, max(graph.tensors[name].shape[0] for name in (*node.inputs, node.output)) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if of(middle).bytes <= room else (low, middle)
        if low:
            yield of(low)
