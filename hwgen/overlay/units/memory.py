"""External memory that is none: block RAM on the same chip, at the engine's bus."""

from typing import Any

import numpy as np
from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from .axi import BURST, Manager
from .words import delayed

__all__ = ["BANK", "LATENCY", "READ", "OnChipMemory"]

BANK = 2048  #: words of a bank
READ = 5  #: cycles from an address to its word: banks' address, the bank, its register, two for the choice among banks
NEAR = 4  #: banks among which the first choice is
LATENCY = READ + 5  #: cycles from a request to its first beat
REQUESTS = 16  #: bursts that wait, of both readers: they are answered in order
ANSWERS = 16  #: beats that wait to be taken
ANNOUNCED = 4  #: writes that wait for their beats


class OnChipMemory(wiring.Component):
    """Answers requests in order, a beat in each cycle.

    While the engine does nothing, another one may read and write words.

    Parameters
    ----------
    image
        Bytes that it holds at first, whole beats of the bus.
    written
        (first byte, bytes) of what is written; the other banks are read only.

    Members
    -------
    axi : the engine's bus; addresses from 0 on
    put : a word to write instead of the engine's: which one, which of its bytes
    place, word : the number of a word to read when no request is under way, and the word ``READ`` cycles later
    """

    def __init__(self, engine: Engine, image: np.ndarray, written: list[tuple[int, int]]):
        self.engine, self.image, self.written = engine, image, written
        self.words = image.size // engine.bus
        self.bits = max(1, (self.words - 1).bit_length())
        beat = 8 * engine.bus
        super().__init__(
            {
                "axi": In(Manager(engine)),
                "put": In(
                    stream.Signature(StructLayout({"place": self.bits, "data": beat, "strobe": engine.bus}), always_ready=True)
                ),
                "place": In(self.bits),
                "word": Out(beat),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        reading, place = Signal(), Signal(self.bits)
        self._read(m, reading, place)
        self._banks(m, Mux(reading, place, self.place), self._write(m))
        return m

    def _read(self, m: Module, reading: Signal, place: Signal) -> None:
        """Addresses of bursts, and what has been read."""
        e = self.engine
        shift = e.bus.bit_length() - 1
        ar = self.axi.ar
        left, last, identity = Signal(range(BURST + 1)), Signal(), Signal()  # last: one is left
        width = self.bits + len(ar.payload.length) + len(ar.payload.id)
        m.submodules.requests = requests = SyncFIFOBuffered(width=width, depth=REQUESTS)
        m.submodules.answers = answers = SyncFIFOBuffered(width=8 * e.bus + 1, depth=ANSWERS)
        room, fits = Signal(range(ANSWERS + 1), init=ANSWERS), Signal(init=1)  # fits: there is room, one beat in the way or not
        asked, taken = Signal(), Signal()
        coming = Signal(READ)  # a beat at each step of the way
        identities = Signal(READ)
        m.d.comb += [
            asked.eq(reading & fits),
            taken.eq(self.axi.r.valid & self.axi.r.ready),
            requests.w_data.eq(Cat(ar.payload.address[shift : shift + self.bits], ar.payload.length, ar.payload.id)),
            requests.w_en.eq(ar.valid),
            ar.ready.eq(requests.w_rdy),
            requests.r_en.eq(~reading | (asked & last)),
            answers.w_en.eq(coming[-1]),
            answers.w_data.eq(Cat(self.word, identities[-1])),
            self.axi.r.valid.eq(answers.r_rdy),
            self.axi.r.payload.data.eq(answers.r_data),
            self.axi.r.payload.id.eq(answers.r_data[-1]),
            answers.r_en.eq(self.axi.r.ready),
        ]
        m.d.sync += [
            room.eq(room - asked + taken),
            fits.eq(room > 1),
            coming.eq(Cat(asked, coming)),
            identities.eq(Cat(identity, identities)),
        ]
        with m.If(asked):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1), last.eq(left == 2)]
        with m.If(requests.r_en):
            m.d.sync += [reading.eq(requests.r_rdy), Cat(place, left, identity).eq(requests.r_data)]
            m.d.sync += last.eq(requests.r_data[self.bits : self.bits + len(left)] == 1)

    def _write(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Bursts of writes, each with its answer; what is written: which word, its bytes, which of these."""
        e = self.engine
        shift = e.bus.bit_length() - 1
        aw, w, b = self.axi.aw, self.axi.w, self.axi.b
        writing, target = Signal(), Signal(self.bits)
        owed = Signal(4)  # answers
        last = w.valid & w.ready & w.payload.last
        m.submodules.announced = announced = SyncFIFOBuffered(width=self.bits, depth=ANNOUNCED)
        m.d.comb += [
            announced.w_data.eq(aw.payload.address >> shift),
            announced.w_en.eq(aw.valid),
            aw.ready.eq(announced.w_rdy),
            announced.r_en.eq(~writing | last),
            w.ready.eq(writing & ~owed[-1]),
            b.valid.eq(owed != 0),
        ]
        m.d.sync += owed.eq(owed + last - (b.valid & b.ready))
        with m.If(w.valid & w.ready):
            m.d.sync += target.eq(target + 1)
        with m.If(announced.r_en):
            m.d.sync += [writing.eq(announced.r_rdy), target.eq(announced.r_data)]
        place, data, strobe = Signal(self.bits), Signal(8 * e.bus), Signal(e.bus)
        put = self.put
        m.d.sync += [
            place.eq(Mux(put.valid, put.payload.place, target)),
            data.eq(Mux(put.valid, put.payload.data, w.payload.data)),
            strobe.eq(Mux(put.valid, put.payload.strobe, Mux(w.valid & w.ready, w.payload.strobe, 0))),
        ]
        return place, data, strobe

    def _banks(self, m: Module, place: Value, written: tuple[Signal, Signal, Signal]) -> None:
        """The words, ``BANK`` in each."""
        e = self.engine
        words = [int.from_bytes(row.tobytes(), "little") for row in self.image.reshape(-1, e.bus)]
        inside = BANK.bit_length() - 1
        target, data, strobe = written
        registers = []
        address = Signal(place.shape(), name="address")
        m.d.sync += address.eq(place)
        for number, first in enumerate(range(0, self.words, BANK)):
            contents = words[first : first + BANK]
            style = {"ram_style": "block", "no_rw_check": 1}
            bank = Memory(shape=8 * e.bus, depth=max(2, len(contents)), init=contents, attrs=style)
            m.submodules[f"bank_{number}"] = bank
            read = bank.read_port()
            m.d.comb += read.addr.eq(address[:inside])
            if any(first * e.bus < start + size and start < (first + BANK) * e.bus for start, size in self.written):
                write = bank.write_port(granularity=8)
                here = target[inside:] == number if self.bits > inside else 1
                m.d.comb += [write.addr.eq(target[:inside]), write.data.eq(data), write.en.eq(Mux(here, strobe, 0))]
            register = Signal(8 * e.bus, name=f"found_{number}", reset_less=True)
            m.d.sync += register.eq(read.data)
            registers.append(register)
        which = delayed(m, place[inside:], READ - 2, "which")
        near = [Signal(8 * e.bus, name=f"near_{k}", reset_less=True) for k in range(-(-len(registers) // NEAR))]
        for k, word in enumerate(near):
            m.d.sync += word.eq(Array(registers[NEAR * k : NEAR * k + NEAR])[which[: NEAR.bit_length() - 1]])
        m.d.sync += self.word.eq(Array(near)[delayed(m, which[NEAR.bit_length() - 1 :], 1, "far")])
