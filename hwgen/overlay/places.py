"""Where tensors lie: in the scratchpad in a border, in external memory without."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..errors import HwgenError
from ..graph import AveragePool, Conv, Graph, MaxPool, Node
from .engine import Engine
from .exact import INSTEAD, stored
from .isa import Fill, Multiply, largest

__all__ = ["BEGIN", "Band", "External", "Placed", "bands", "fills", "rectangle", "shares", "unplaced"]

BEGIN = 64  #: alignment of tensors and weights in external memory


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a tensor lies: rows of pixels of ``channels`` bytes, in a border of ``fill``.

    Parameters
    ----------
    address
        Of the border's first byte in the scratchpad.
    shape
        (H, W, C) without border.
    border
        (top, left, bottom, right) pixels.
    """

    address: int
    shape: tuple[int, int, int]
    border: tuple[int, int, int, int]
    fill: int

    @property
    def row(self) -> int:
        """Bytes from row to row."""
        return (self.shape[1] + self.border[1] + self.border[3]) * self.shape[2]

    @property
    def size(self) -> int:
        return (self.shape[0] + self.border[0] + self.border[2]) * self.row

    def at(self, y: int, x: int, channel: int = 0) -> int:
        """Address of an element; outside 0..H-1, 0..W-1 of one in the border."""
        return self.address + (y + self.border[0]) * self.row + (x + self.border[1]) * self.shape[2] + channel


def unplaced(graph: Graph, name: str, readers: Sequence[Node] | None = None) -> Placed:
    """A tensor at address 0, in the border that its readers want, all or some; ``HwgenError`` where these differ."""
    tensor = graph.tensors[name]
    wanted: list[Sequence[int]] = [(0, 0, 0, 0)]
    values = set()
    for node in graph.consumers(name) if readers is None else readers:
        if name in node.inputs and isinstance(node, Conv | MaxPool | AveragePool) and any(node.pads):
            wanted.append(node.pads)
            values.add(-128 if isinstance(node, MaxPool) else tensor.type.zero_point - stored(graph, name))
    if len(values) > 1:
        raise HwgenError(f"tensor {name}: its readers pad it with different values, {sorted(values)}; {INSTEAD}")
    top, left, bottom, right = (max(side) for side in zip(*wanted, strict=True))
    return Placed(address=0, shape=tensor.shape, border=(top, left, bottom, right), fill=values.pop() if values else 0)


def fills(place: Placed) -> Iterator[Fill]:
    """What writes the border."""
    top, left, bottom, right = place.border
    height, width, channels = place.shape
    if top:
        yield Fill(value=place.fill, local=place.address, size=top * place.row)
    if bottom:
        yield Fill(value=place.fill, local=place.address + (top + height) * place.row, size=bottom * place.row)
    if left:
        yield Fill(value=place.fill, local=place.at(0, -left), size=left * channels, rows=height, local_step=place.row)
    if right:
        yield Fill(value=place.fill, local=place.at(0, width), size=right * channels, rows=height, local_step=place.row)


def rectangle(place: Placed, value: int, y: int, x: int, below: int, right: int) -> Iterator[Fill]:
    """What writes a value from pixel (y, x) until before row ``below`` and column ``right``; nothing where that is empty."""
    if below > y and right > x:
        size = (right - x) * place.shape[2]
        yield Fill(value=value, local=place.at(y, x), size=size, rows=below - y, local_step=place.row)


@dataclass(frozen=True, kw_only=True)
class Band:
    """Positions whose sums are made at once."""

    y: int
    x: int
    height: int
    width: int


def bands(place: Placed, engine: Engine, size: int, start: int = 0, stop: int | None = None) -> Iterator[Band]:
    """Positions of a tensor, or of some of its rows: rows or shares of them, about ``size`` at a time.

    At most as many as half of the sums; where instructions follow each other, as many as there are sums.
    """
    height, width, _ = place.shape
    height = (height if stop is None else stop) - start
    most = engine.sums if engine.sequential else engine.sums // 2
    size = most if engine.sequential else min(most, size)
    across = min(width, most, largest(Multiply, "x_count"))
    down = min(height, max(1, size // across))
    for y, height_here in shares(height, -(-height // down)):
        for x, width_here in shares(width, -(-width // across)):
            yield Band(y=start + y, x=x, height=height_here, width=width_here)


def shares(size: int, count: int) -> Iterator[tuple[int, int]]:
    """(start, length) of ``count`` parts, none more than one longer than another."""
    ends = [size * k // count for k in range(count + 1)]
    yield from ((a, b - a) for a, b in pairwise(ends))


class External:
    """External memory, filled from the bottom."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, np.ndarray]] = []
        self.size = 0

    def room(self, size: int) -> int:
        """The address of so many bytes."""
        address = -(-self.size // BEGIN) * BEGIN
        self.size = address + size
        return address

    def put(self, content: np.ndarray) -> int:
        """The address of a copy."""
        address = self.room(content.nbytes)
        self.parts.append((address, content))
        return address

    def image(self) -> np.ndarray:
        """Its bytes."""
        memory = np.zeros(-(-self.size // BEGIN) * BEGIN, np.uint8)
        for address, content in self.parts:
            memory[address : address + content.nbytes] = np.frombuffer(content.tobytes(), np.uint8)
        return memory
