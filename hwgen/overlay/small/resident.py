"""The sequential engine as a template: frames in and out as streams, behind the image."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arith import IntType
from ...cost import BLOCKS_4K, Cost, Memories, Resources
from ...streams import Stream, Words, serve
from ..compiled import Compiled, Region
from ..engine import SUM_BITS, Engine
from ..resident import frames_made
from .drain import PARTS
from .engine import SequentialEngine
from .sequencer import PLACES
from .timing import BYTE
from .vector import TABLES
from .words import BITS

__all__ = ["Image", "SequentialParams"]

LOGIC = Resources(lut=1600, ff=970, dsp=6)  #: as synthesised, whatever the network


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """What the stream brings first.

    Parameters
    ----------
    compiled
        The program, and what external memory holds at first.
    """

    compiled: Compiled = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SequentialParams:
    """A frame comes in, the program runs, the result goes out; then the next frame. Words are bytes.

    Parameters
    ----------
    engine
        Its memories.
    input, output
        Where they are in external memory, and their types.
    cycles
        Of what brings a frame in, of each instruction, of what brings it out, and of the way back to the first.
    """

    engine: Engine
    input: Region
    input_type: IntType
    output: Region
    output_type: IntType
    cycles: tuple[int, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.engine.sequential:
            raise ValueError(f"engine must be sequential, not {self.engine!r}")

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.input_type, lanes=1, words=int(np.prod(self.input.shape))),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.output_type, lanes=1, words=int(np.prod(self.output.shape))),)

    def compute(self, x: Words, contents: Image) -> Words:
        """The program on the instruction-level simulator, frame by frame."""
        program, external = contents.compiled.program, contents.compiled.external
        frames = x.reshape(-1, *self.input.shape)
        return frames_made(self.engine, program, external, frames, self.input, self.output).reshape(-1, 1)

    def cost(self, memories: Memories = BLOCKS_4K) -> Cost:
        """Logic as measured; memories as yosys maps them."""
        e = self.engine
        shapes = [(PLACES, BITS)] * 4 + [(e.weights, 8 * e.columns), (2 * e.sums, SUM_BITS * e.columns), (TABLES, 32)]
        shapes += [(e.scales, bits) for bits in PARTS]
        bram = sum(memories.blocks(depth, bits, written=True) for depth, bits in shapes)
        return Cost(cycles=sum(self.cycles), resources=LOGIC + Resources(bram=bram))

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """Bytes are taken, and offered, every ``BYTE`` cycles at most."""
        words = self.outputs[0].words
        last = serve(arrivals.reshape(-1, self.inputs[0].words)[0], BYTE)[-1]
        first = last + BYTE + sum(self.cycles[1:-1]) - BYTE * words
        return first + BYTE * np.arange(words)

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k // self.outputs[0].words + 1) * self.inputs[0].words

    def accepted(self, k: Any, port: int = 0) -> Any:
        """A frame is taken when the one before has left."""
        return (k // self.outputs[0].words + 1) * self.inputs[0].words

    def create(self, contents: Image) -> "Resident":
        return Resident(self)


class Resident(wiring.Component):
    """Hardware for :class:`SequentialParams`; the image is not part of it.

    Members
    -------
    i, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: SequentialParams):
        self.params = params
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.engine = engine = SequentialEngine(p.engine)
        m.d.comb += [
            engine.i.payload.eq(self.i.payload.as_value() ^ p.input.less),
            engine.i.valid.eq(self.i.valid),
            self.i.ready.eq(engine.i.ready),
            self.o.payload.as_value().eq(engine.o.payload ^ p.output.less),
            self.o.valid.eq(engine.o.valid),
            engine.o.ready.eq(self.o.ready),
        ]
        return m
