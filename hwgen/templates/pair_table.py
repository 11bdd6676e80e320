"""A function of two elements, one of each stream, from a table of all pairs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve
from .pieces import check_counts

__all__ = ["PairTable", "PairTableContents", "PairTableParams"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTableContents:
    """``values[a - a_type.min, b - b_type.min]`` is the result: shape (2**a.bits, 2**b.bits), integers."""

    values: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PairTableParams:
    """``y = values[a, b]`` for each element. One word per cycle; for what no arithmetic of moderate size computes.

    Parameters
    ----------
    a, b, output
        Types of the operands, at most 16 bits together, and of the result.
    lanes, words
        Of all three streams. Each lane has its own table.
    """

    a: IntType
    b: IntType
    output: IntType
    lanes: int
    words: int

    def __post_init__(self) -> None:
        check_counts(self, "lanes", "words")
        if self.a.bits + self.b.bits > 16:
            raise ValueError(f"a and b must have at most 16 bits together, not {self.a.bits + self.b.bits}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return tuple(Stream(element=e, lanes=self.lanes, words=self.words) for e in (self.a, self.b))

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=self.lanes, words=self.words),)

    def checked(self, contents: PairTableContents) -> np.ndarray:
        """The values as int64; ``ValueError`` unless they are what the parameters say."""
        values, shape = np.asarray(contents.values, np.int64), (1 << self.a.bits, 1 << self.b.bits)
        if values.shape != shape:
            raise ValueError(f"values must have shape {shape}, not {values.shape}")
        if values.min() < self.output.min or values.max() > self.output.max:
            raise ValueError(f"values must be {self.output}, not in {values.min()}..{values.max()}")
        return values

    def compute(self, a: Words, b: Words, contents: PairTableContents) -> Words:
        return self.checked(contents)[a - self.a.min, b - self.b.min]

    def departures(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The memory's own register is the output register."""
        return serve(np.maximum(a, b)) + 1

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """A block RAM table for each lane; a few LUTs for the handshake."""
        bram = self.lanes * memories.blocks(1 << self.a.bits + self.b.bits, self.output.bits)
        return Cost(cycles=self.words, resources=Resources(lut=4, ff=1, bram=bram))

    def create(self, contents: PairTableContents) -> "PairTable":
        return PairTable(self, self.checked(contents))


class PairTable(wiring.Component):
    """Hardware for :class:`PairTableParams`.

    Members
    -------
    i0, i1, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: PairTableParams, values: np.ndarray):
        self.params = params
        # By bit patterns: the negative half of a signed operand comes last.
        for axis, operand in enumerate((params.a, params.b)):
            values = np.roll(values, operand.min, axis=axis)
        self.values = values.ravel().tolist()
        a, b = params.inputs
        super().__init__({"i0": In(a.signature), "i1": In(b.signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        move = ~self.o.valid | self.o.ready
        m.d.comb += [self.i0.ready.eq(move & self.i1.valid), self.i1.ready.eq(move & self.i0.valid)]
        with m.If(move):
            m.d.sync += self.o.valid.eq(self.i0.valid & self.i1.valid)
        for lane in range(p.lanes):
            memory = m.submodules[f"table{lane}"] = Memory(
                shape=p.output.shape, depth=len(self.values), init=self.values, attrs={"rom_style": "block"}
            )
            read = memory.read_port()
            address = Cat(self.i1.payload[lane], self.i0.payload[lane])
            m.d.comb += [read.addr.eq(address), read.en.eq(move), self.o.payload[lane].eq(read.data)]
        return m
