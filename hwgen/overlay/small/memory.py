"""A memory with one port, of words of four bytes: iCE40's SPRAM, which has no contents at first."""

from typing import Any

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import SINGLE_PORT

__all__ = ["WORDS", "SinglePort"]

WORDS = SINGLE_PORT // 4  #: in two blocks of SPRAM
STYLE = {"ram_style": "huge", "no_rw_check": 1}


class SinglePort(wiring.Component):
    """Reads or writes a word in a cycle; what has been read stays until another word is.

    Members
    -------
    address : of a word
    write, data : which of its bytes are written, with what
    word : what was there, a cycle after an address without a write
    """

    def __init__(self) -> None:
        super().__init__({"address": In(range(WORDS)), "write": In(4), "data": In(32), "word": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=WORDS, init=[], attrs=STYLE)
        read, write = memory.read_port(), memory.write_port(granularity=8)
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(self.write == 0),
            self.word.eq(read.data),
            write.addr.eq(self.address),
            write.data.eq(self.data),
            write.en.eq(self.write),
        ]
        return m
