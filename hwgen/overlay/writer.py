"""A program while it is written: its instructions, external memory, and what lies where in the engine's memories."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..errors import HwgenError
from ..graph import Graph, Node
from .engine import Engine
from .exact import INSTEAD
from .isa import FieldError, Instruction, Load, Place, Store, largest
from .places import External, Placed

__all__ = ["Tiling", "Writer", "saying"]


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How weighted sums are cut up.

    Parameters
    ----------
    share
        Positions of a band, in rows of the array.
    together
        Whether all parts of a band are made before the next one, where the memory holds all of their weights.
    """

    share: int
    together: bool


class Writer:
    """The program so far.

    Parameters
    ----------
    here
        Where tensors lie in the scratchpad; of those that pass through it in bands the one that is there.
    """

    def __init__(self, graph: Graph, engine: Engine, tiling: Tiling):
        self.graph, self.engine, self.tiling = graph, engine, tiling
        self.external = External()
        self.program: list[Instruction] = []
        self.here: dict[str, Placed] = {}
        self.next = {Place.WEIGHTS: 0, Place.SCALES: 0}  # where the next constants go
        self.last_sums = 0  # where the next band's go

    def room(self, name: str) -> int:
        """The address of room in external memory for a tensor."""
        return self.external.room(self.graph.tensors[name].shape[0] * self.beats(name))

    def beats(self, name: str) -> int:
        """Bytes of a tensor's row in external memory."""
        _, width, channels = self.graph.tensors[name].shape
        return self.engine.padded(width * channels)

    def move(self, name: str, place: Placed, how: type[Load] | type[Store], external: int, start: int, stop: int) -> None:
        """Rows of a tensor from ``start`` until before ``stop``."""
        _, width, channels = place.shape
        most = largest(how, "rows")
        for first in range(start, stop, most):
            self.program.append(
                how(
                    external=external + first * self.beats(name),
                    external_step=self.beats(name),
                    local=place.at(first, 0),
                    local_step=place.row,
                    size=width * channels,
                    rows=min(stop - first, most),
                )
            )

    def sums(self, count: int) -> int:
        """The first entry of so many, behind the last ones."""
        start = self.last_sums if self.last_sums + count <= self.engine.sums else 0
        self.last_sums = start + count
        return start

    def together(self, place: Place, count: int) -> bool:
        """Begin at the memory's first entry where so many would not fit behind the last ones; whether they do now."""
        entries = self._entries(place)
        if self.next[place] + count > entries:
            self.next[place] = 0
        return count <= entries

    def constants(self, node: Node, place: Place, content: np.ndarray) -> int:
        """Bring constants (entries, bytes) into a memory, behind the last ones; the first one's number."""
        external = self.engine.laid_out(place, content)
        first = self.entries(node, place, len(content))
        self.program.append(Load(place=place, external=self.external.put(external), local=first, size=external.nbytes))
        return first

    def entries(self, node: Node, place: Place, count: int) -> int:
        """Room for so many entries of a memory, behind the last ones; the first one's number."""
        entries = self._entries(place)
        share = self.engine.entries_of(place)
        size = -(-count // share) * share
        if size > entries:
            raise HwgenError(
                f"{node.name}: {size} entries of {place.name.lower()} do not fit into the engine's {entries}; "
                "choose an engine with more"
            )
        first = self.next[place] if self.next[place] + size <= entries else 0
        self.next[place] = first + size
        return first

    def _entries(self, place: Place) -> int:
        return self.engine.weights if place == Place.WEIGHTS else self.engine.scales


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Name what an instruction is for that has no room for a number."""
    try:
        yield
    except FieldError as error:
        raise HwgenError(f"{what}: {error}; {INSTEAD}") from None
