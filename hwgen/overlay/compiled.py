"""A compiled network: program, external memory, where tensors are in it, and which instructions make which layer."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..graph import Graph, Linear, MatMul, Node
from .engine import Engine
from .isa import Instruction, Load, Store, encode
from .places import Placed

__all__ = ["Compiled", "Layer", "Region", "TensorStay", "data_bytes", "engine_hash", "image_of", "layers", "macs_of"]

PROGRAM = 512  #: alignment of a program in external memory: requests of 16 beats of the widest bus


@dataclass(frozen=True, kw_only=True)
class Region:
    """A tensor in external memory: rows of pixels of channels, each row from a new beat of the bus on.

    Parameters
    ----------
    address
        Of its first byte.
    shape
        (H, W, C) of the network's tensor.
    row
        Bytes from row to row.
    less
        What is taken from its integers to make them int8: 0, or 128 where they have no sign.
    transposed
        Whether its rows are the network's columns.
    """

    address: int
    shape: tuple[int, int, int]
    row: int
    less: int
    transposed: bool

    def _bytes(self) -> np.ndarray:
        height, width, channels = self.shape
        rows, pixels = (width, height) if self.transposed else (height, width)
        return self.address + np.arange(rows)[:, None] * self.row + np.arange(pixels * channels)

    def write(self, memory: np.ndarray, tensor: np.ndarray) -> None:
        """Put integers (H, W, C) into external memory."""
        if tensor.shape != self.shape:
            raise ValueError(f"tensor must have shape {self.shape}, not {tensor.shape}")
        stored = (tensor.astype(np.int64) - self.less).astype(np.int8)
        places = self._bytes()
        memory[places] = (stored.transpose(1, 0, 2) if self.transposed else stored).reshape(places.shape).view(np.uint8)

    def read(self, memory: np.ndarray) -> np.ndarray:
        """Integers (H, W, C) of external memory."""
        height, width, channels = self.shape
        stored = memory[self._bytes()].view(np.int8).astype(np.int64) + self.less
        if self.transposed:
            return stored.reshape(width, height, channels).transpose(1, 0, 2)
        return stored.reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class TensorStay:
    """A tensor has its place in the scratchpad from instruction ``first`` until before ``stop``."""

    tensor: str
    place: Placed
    first: int
    stop: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Compiled:
    """A program, and the external memory that it begins with.

    Parameters
    ----------
    external
        Bytes: constants, and room for input, output and spills.
    transposed
        Whether height and width are exchanged in all that follows.
    input, output
        Addresses there: (H, W, C) bytes without border, rows padded to whole beats of the bus.
    places
        Of each tensor when it has just been made, None where it is only in external memory, and the number of instructions by
        then.
    overwritten
        Tensors in whose place another one is by then, which was made of them in step.
    stays
        Of tensors in the scratchpad, in the order in which they leave.
    regions
        Where tensors are in external memory: input, output, what never is in the scratchpad as a whole, what is observed.
    """

    engine: Engine
    program: list[Instruction]
    external: np.ndarray
    transposed: bool
    input: int
    output: int
    places: dict[str, tuple[Placed | None, int]]
    overwritten: frozenset[str]
    stays: tuple[TensorStay, ...]
    regions: dict[str, Region]

    @property
    def ends(self) -> list[tuple[str, int]]:
        """Tensors in the order in which they are made, and how many instructions there are by then."""
        return [(name, number) for name, (_, number) in self.places.items()]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Operators that are carried out together.

    Parameters
    ----------
    names
        Of the operators.
    first, stop
        Instructions from ``first`` until before ``stop``.
    start, end
        Cycles from the end of the layers before to its own.
    """

    names: tuple[str, ...]
    macs: int
    first: int
    stop: int
    start: int
    end: int


def layers(graph: Graph, compiled: Compiled, ends: Sequence[int]) -> list[Layer]:
    """What the program does one after the other; ``ends``: of its instructions."""
    nodes = {node.output: node for node in graph.nodes}
    found: list[Layer] = []
    for stop in sorted({number for tensor, number in compiled.ends if tensor in nodes}):
        made = [nodes[tensor] for tensor, number in compiled.ends if number == stop and tensor in nodes]
        first, start = (found[-1].stop, found[-1].end) if found else (0, 0)
        macs, end = sum(macs_of(node, graph) for node in made), max([start, *ends[first:stop]])
        found.append(Layer(names=tuple(node.name for node in made), macs=macs, first=first, stop=stop, start=start, end=end))
    return found


def macs_of(node: Node, graph: Graph) -> int:
    """Multiplications of a frame; those with weights of one do not count."""
    taken = node.weights[0].size if isinstance(node, Linear) else node.depth if isinstance(node, MatMul) else 0
    return graph.tensors[node.output].elements * taken


def data_bytes(compiled: Compiled, first: int = 0, stop: int | None = None) -> int:
    """Bytes of external memory that some of the instructions, or all, read and write."""
    moved = 0
    for i in compiled.program[first:stop]:
        if isinstance(i, Load | Store):
            moved += i.rows * (compiled.engine.padded(i.size) if isinstance(i, Load) else i.size)
    return moved


def engine_hash(engine: Engine) -> str:
    """Of an engine's parameters: programs are for engines of one hash."""
    return hashlib.sha256(repr(sorted(asdict(engine).items())).encode()).hexdigest()[:16]


def image_of(program: Sequence[Instruction], external: np.ndarray) -> tuple[bytes, int]:
    """External memory with the program behind it, and the program's first byte."""
    begin = -(-len(external) // PROGRAM) * PROGRAM
    return external.tobytes().ljust(begin, b"\0") + b"".join(map(encode, program)), begin
