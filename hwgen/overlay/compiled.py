"""A compiled network: program, external memory, and where tensors are in it."""

import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from .engine import Engine
from .isa import Instruction, encode
from .places import Placed

__all__ = ["Compiled", "Region", "engine_hash", "image_of"]

ALIGN = 64


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
        Of each tensor when it has just been made, and the number of instructions by then.
    regions
        Where tensors are in external memory: input, output and what is observed.
    """

    engine: Engine
    program: list[Instruction]
    external: np.ndarray
    transposed: bool
    input: int
    output: int
    places: dict[str, tuple[Placed, int]]
    regions: dict[str, Region]

    @property
    def ends(self) -> list[tuple[str, int]]:
        """Tensors in the order in which they are made, and how many instructions there are by then."""
        return [(name, number) for name, (_, number) in self.places.items()]


def engine_hash(engine: Engine) -> str:
    """Of an engine's parameters: programs are for engines of one hash."""
    return hashlib.sha256(repr(sorted(asdict(engine).items())).encode()).hexdigest()[:16]


def image_of(compiled: Compiled) -> tuple[bytes, int]:
    """External memory with the program behind it, and the program's first byte."""
    begin = -(-len(compiled.external) // ALIGN) * ALIGN
    words = b"".join(map(encode, compiled.program))
    return compiled.external.tobytes() + bytes(begin - len(compiled.external)) + words, begin
