"""Functions of one element: a look-up table, or a clamp."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType, clamp
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve

__all__ = ["Table", "TableContents", "TableParams", "table_params"]

LUT_ROM_BITS = 8  #: yosys makes LUTs of a table of up to 2**8 words of 8 bits


@dataclass(frozen=True, kw_only=True)
class TableParams:
    """``y = values[x - x_type.min]``, or ``y = clamp(x, lo, hi)``, for each element.

    Parameters
    ----------
    stream
        What comes in; elements of at most 14 bits.
    output
        Type of an element that leaves.
    limits
        (lo, hi) where the function is a clamp, which needs no memory; None for a table.
    programmable
        Whether the table is in block RAM in any case.
    """

    stream: Stream
    output: IntType
    limits: tuple[int, int] | None = None
    programmable: bool = False

    def __post_init__(self) -> None:
        if self.limits is None:
            if self.stream.element.bits > 14:
                raise ValueError(f"stream must have elements of at most 14 bits, not {self.stream.element.bits}")
            return
        lo, hi = self.limits
        if not self.output.min <= lo <= hi <= self.output.max:
            raise ValueError(f"limits must be ordered and in {self.output.min}..{self.output.max}, not {self.limits!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (self.stream,)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output, lanes=self.stream.lanes, words=self.stream.words),)

    @property
    def latency(self) -> int:
        """Cycles: a table's address, then its output register; a clamp's register."""
        return 2 if self.limits is None else 1

    @property
    def in_bram(self) -> bool:
        """Whether the table is in block RAM."""
        return self.programmable or self.stream.element.bits > LUT_ROM_BITS

    def compute(self, words: Words, contents: "TableContents | None" = None) -> Words:
        if self.limits is not None:
            return clamp(words, *self.limits)
        return _table(self, contents)[words - self.stream.element.min]

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        return serve(arrivals) + self.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        return k + 1

    def accepted(self, k: Any, port: int = 0) -> Any:
        return k + self.latency

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Synthesised for ECP5: a table of up to 256 words is LUTs, 20 for each output bit and lane at 256; from 512 words
        on it is block RAM, of which two lanes share one (two ports). A clamp is up to two comparators and a multiplexer.
        """
        lanes, element, bits = self.stream.lanes, self.stream.element, self.output.bits
        if self.limits is not None:
            tests = (self.limits[0] > element.min) + (self.limits[1] < element.max)
            lut = lanes * tests * (element.bits + bits) // 2
            return Cost(cycles=self.stream.words, resources=Resources(lut=lut + 1, ff=lanes * min(element.bits, bits) + 1))
        if not self.in_bram:
            lut = lanes * bits * max(1, 20 * (1 << element.bits) // 256)
            return Cost(cycles=self.stream.words, resources=Resources(lut=lut + 1, ff=2 * lanes * bits + 2))
        bram = memories.blocks(1 << element.bits, bits, reads=lanes)
        return Cost(cycles=self.stream.words, resources=Resources(lut=1, ff=lanes * bits + 2, bram=bram))

    def create(self, contents: "TableContents | None" = None) -> "Table":
        if self.limits is None:
            _table(self, contents)
        return Table(self, contents)


@dataclass(frozen=True, kw_only=True, eq=False)
class TableContents:
    """``values[x - x_type.min]`` is the result for x: shape (2**bits,), integers."""

    values: np.ndarray


def table_params(
    stream: Stream, output: IntType, values: np.ndarray, programmable: bool = False
) -> tuple[TableParams, TableContents | None]:
    """The hardware for ``y = values[x - x_type.min]``: a clamp (no contents) where that is the same function, else a table.

    ``programmable``: a table in block RAM in any case.
    """
    x = np.arange(stream.element.min, stream.element.max + 1)
    contents = TableContents(values=values)
    params = TableParams(stream=stream, output=output, programmable=programmable)
    lo, hi = int(values.min()), int(values.max())
    if not programmable and (_table(params, contents) == clamp(x, lo, hi)).all():
        return TableParams(stream=stream, output=output, limits=(lo, hi)), None
    return params, contents


def _table(params: TableParams, contents: TableContents | None) -> np.ndarray:
    """The values, checked."""
    if contents is None:
        raise ValueError("contents must be given, not None")
    values, size, output = contents.values, 1 << params.stream.element.bits, params.output
    if values.shape != (size,):
        raise ValueError(f"values must have shape ({size},), not {values.shape}")
    if values.min() < output.min or values.max() > output.max:
        raise ValueError(f"values must be in {output.min}..{output.max}, not {values.min()}..{values.max()}")
    return values.astype(np.int64)


class Table(wiring.Component):
    """Hardware for :class:`TableParams`: one word per cycle.

    Members
    -------
    i : stream of ``params.stream``
    o : stream of ``params.outputs[0]``
    """

    def __init__(self, params: TableParams, contents: TableContents | None):
        self.params, self.contents = params, contents
        super().__init__({"i": In(params.stream.signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        move = Signal()
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(move)]
        if (limits := self.params.limits) is not None:
            with m.If(move):
                m.d.sync += self.o.valid.eq(self.i.valid)
                for n in range(self.params.stream.lanes):
                    m.d.sync += self.o.payload[n].eq(clamp(self.i.payload[n], *limits))
            return m
        element = self.params.stream.element
        values = np.roll(
            _table(self.params, self.contents), element.min
        ).tolist()  # addressed by the bits of x: negative ones last
        m.submodules.table = table = Memory(
            shape=self.params.output.shape,
            depth=len(values),
            init=values,
            attrs={"rom_style": "block" if self.params.in_bram else "logic"},
        )
        pending = Signal()
        with m.If(move):
            m.d.sync += [pending.eq(self.i.valid), self.o.valid.eq(pending)]
        payload = data.View(self.params.stream.layout, self.i.payload)
        for n in range(self.params.stream.lanes):
            port = table.read_port()
            m.d.comb += [port.addr.eq(payload[n].as_unsigned()), port.en.eq(move)]
            with m.If(move):
                m.d.sync += self.o.payload[n].eq(port.data)
        return m
