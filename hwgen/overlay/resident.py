"""The overlay as a template: engine, program and external memory on one chip, frames in and out as streams."""

from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np
from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories
from ..streams import Stream, Words
from .compiled import Region
from .engine import Engine
from .isa import WORD, Instruction, decode
from .machine import Machine
from .resources import engine_resources, image_resources
from .units.loops import Loops
from .units.memory import READ, OnChipMemory
from .units.top import OverlayEngine

__all__ = ["Image", "ResidentParams"]

BEFORE, AFTER = 4, 2  #: cycles from the last input word to the program's start, and from its end to the first output's address
EACH = READ + 3  #: cycles of an output word


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """What external memory holds at first: constants, the program behind them.

    Parameters
    ----------
    content
        Bytes.
    """

    content: np.ndarray = field(repr=False)


def frames_made(
    engine: Engine, program: list[Instruction], external: np.ndarray, frames: np.ndarray, there: Region, back: Region
) -> np.ndarray:
    """What a program makes of each of ``frames``, on the simulator of instructions; external memory as at first each time."""
    made = []
    for frame in frames:
        memory = external.copy()
        there.write(memory, frame)
        Machine(engine, memory).run(program)
        made.append(back.read(memory))
    return np.stack(made)


@dataclass(frozen=True, kw_only=True)
class ResidentParams:
    """A frame comes in, a program of the engine runs, the result goes out; then the next frame.

    Parameters
    ----------
    engine
        All of it.
    input, output
        Where they are in external memory, and their types.
    size
        Bytes of external memory, whole beats of the bus.
    written
        (first byte, bytes) of what the program writes.
    program, instructions
        Its first byte there, and its length.
    cycles
        That it runs for.
    """

    engine: Engine
    input: Region
    input_type: IntType
    output: Region
    output_type: IntType
    size: int
    written: tuple[tuple[int, int], ...]
    program: int
    instructions: int
    cycles: int

    def __post_init__(self) -> None:
        if self.size % self.engine.bus:
            raise ValueError(f"size must be a multiple of {self.engine.bus} (bus), not {self.size!r}")

    def _lanes(self, region: Region) -> int:
        """Elements of a word: all of them in one beat of external memory, one behind the other."""
        _, width, channels = region.shape
        return gcd(self.engine.bus, channels if region.transposed else width * channels)

    def _stream(self, region: Region, element: IntType) -> Stream:
        lanes = self._lanes(region)
        return Stream(element=element, lanes=lanes, words=int(np.prod(region.shape)) // lanes)

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (self._stream(self.input, self.input_type),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (self._stream(self.output, self.output_type),)

    def loops(self, region: Region) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rounds and steps in bytes of the loops over a region's words, the innermost first, in the network's order."""
        height, width, channels = region.shape
        lanes = self._lanes(region)
        row, pixel = (channels, region.row) if region.transposed else (region.row, channels)
        if region.transposed:
            return (channels // lanes, width, height), (lanes, pixel, row)
        return (width * channels // lanes, height), (lanes, row)

    def compute(self, x: Words, contents: Image) -> Words:
        """The program on the instruction-level simulator, frame by frame."""
        content = contents.content
        words = content[self.program : self.program + self.instructions * WORD].tobytes()
        program = [decode(words[k : k + WORD]) for k in range(0, len(words), WORD)]
        frames = x.reshape(-1, *self.input.shape)
        made = frames_made(self.engine, program, content, frames, self.input, self.output)
        return made.reshape(-1, self.outputs[0].lanes)

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled: the engine and the image, without the streams at both ends."""
        resources = engine_resources(self.engine, memories)
        resources += image_resources(self.size // self.engine.bus, self.engine.bus, memories)
        cycles = self.inputs[0].words + BEFORE + self.cycles + AFTER + EACH * self.outputs[0].words
        return Cost(cycles=cycles, resources=resources)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        last = arrivals.reshape(-1, self.inputs[0].words)[:, -1]
        return (last[:, None] + BEFORE + self.cycles + AFTER + EACH * (1 + np.arange(self.outputs[0].words))).ravel()

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k // self.outputs[0].words + 1) * self.inputs[0].words

    def accepted(self, k: Any, port: int = 0) -> Any:
        """A frame is taken when the one before has left."""
        return (k // self.outputs[0].words + 1) * self.inputs[0].words

    def create(self, contents: Image) -> "Resident":
        return Resident(self, contents)


class Resident(wiring.Component):
    """Hardware for :class:`ResidentParams`.

    Members
    -------
    i, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: ResidentParams, contents: Image):
        self.params, self.contents = params, contents
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        frame = p.input.address, p.input.row * p.input.shape[1 if p.input.transposed else 0]
        m.submodules.memory = memory = OnChipMemory(p.engine, self.contents.content, [frame, *p.written])
        m.submodules.engine = engine = OverlayEngine(p.engine)
        wiring.connect(m, engine.axi, memory.axi)
        m.d.comb += [engine.program_address.eq(p.program), engine.count.eq(p.instructions)]
        there, back = (self._places(m, region, name) for region, name in ((p.input, "put"), (p.output, "get")))
        self._put(m, memory, there)
        waited = Signal(range(EACH))
        words = p.inputs[0].words
        left, last = Signal(range(words), init=words - 1), Signal(init=words == 1)  # words of the frame after this one
        start = Signal(2, init=2)  # of a frame; after a reset a cycle later, as the loops must know their counts before
        m.d.comb += [there.start.eq(start[0]), back.start.eq(start[0])]
        m.d.sync += start.eq(start >> 1)
        with m.FSM():
            with m.State("in"):
                m.d.comb += self.i.ready.eq(start == 0)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
                    with m.If(last):
                        m.next = "put"
            with m.State("put"):  # the last word is held
                m.d.sync += [left.eq(words - 1), last.eq(words == 1)]
                m.next = "begin"
            with m.State("begin"):  # it is being written
                m.next = "start"
            with m.State("start"):
                m.d.comb += engine.start.eq(1)
                m.next = "run"
            with m.State("run"), m.If(engine.done):
                m.next = "read"
            with m.State("read"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == EACH - 3):
                    m.d.sync += waited.eq(0)
                    m.next = "out"
            with m.State("out"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "next"
            with m.State("next"):
                m.d.comb += back.next.eq(1)
                m.next = "read"
                with m.If(back.inner[-1]):
                    m.d.sync += start.eq(1)
                    m.next = "in"
        self._get(m, memory, back)
        return m

    def _places(self, m: Module, region: Region, name: str) -> Loops:
        """Addresses of a region's words."""
        p = self.params
        counts, steps = p.loops(region)
        loops = Loops(p.size.bit_length(), [count.bit_length() for count in counts])
        m.submodules[name] = loops
        m.d.comb += loops.base[0].eq(region.address)
        for k, (count, step) in enumerate(zip(counts, steps, strict=True)):
            m.d.comb += [loops.count[str(k)].eq(count), loops.step[0][k].eq(step)]
        return loops

    def _shift(self) -> int:
        """Bits of an address within a beat."""
        return self.params.engine.bus.bit_length() - 1

    def _put(self, m: Module, memory: OnChipMemory, there: Loops) -> None:
        """An input word into the bytes of its beat."""
        p = self.params
        lanes, bus, shift = p.inputs[0].lanes, p.engine.bus, self._shift()
        address = there.address[0]
        elements = Signal(8 * lanes, reset_less=True)  # held for a cycle: who sends them is far away
        there_is = Signal()
        m.d.sync += [
            there_is.eq(self.i.valid & self.i.ready),
            elements.eq(Cat(Value.cast(element) ^ (0x80 if p.input.less else 0) for element in self.i.payload)),
        ]
        m.d.comb += [
            memory.put.valid.eq(there_is),
            memory.put.payload.place.eq(address >> shift),
            memory.put.payload.data.eq(elements.replicate(bus // lanes)),
            memory.put.payload.strobe.eq(((1 << lanes) - 1) << address[:shift]),
            there.next.eq(there_is),
        ]

    def _get(self, m: Module, memory: OnChipMemory, back: Loops) -> None:
        """An output word of its beat, as it comes from the memory."""
        p = self.params
        lanes, shift = p.outputs[0].lanes, self._shift()
        address = back.address[0]
        found = memory.word.word_select(address[lanes.bit_length() - 1 : shift], 8 * lanes)
        m.d.comb += memory.place.eq(address >> shift)
        for k, element in enumerate(self.o.payload):
            bits = Signal(8, name=f"element_{k}", reset_less=True)
            m.d.sync += bits.eq(found.word_select(k, 8) ^ (0x80 if p.output.less else 0))
            m.d.comb += Value.cast(element).eq(bits)
