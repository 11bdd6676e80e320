"""CRC-32, a bit in each cycle: bytes on a serial line leave it the time."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SerialCrc32"]

POLYNOMIAL = 0xEDB88320  #: of Ethernet and of ``zlib.crc32``, lowest bit first
ONES = 0xFFFFFFFF
RESIDUE = 0xDEBB20E3  #: in the register behind a message and its own CRC


class SerialCrc32(wiring.Component):
    """The CRC of ``zlib.crc32`` of the bytes since ``start``.

    Members
    -------
    start : forget all bytes; for one cycle
    byte, valid : a byte, where ``idle``; it takes eight cycles
    shift : with ``valid``: instead, ``low`` becomes the CRC's next byte; ``byte`` is nothing
    idle : 1 where a byte can come, and ``low`` and ``match`` are those of all bytes
    low : the lowest byte of the CRC
    match : the last four bytes are the CRC of those before
    """

    def __init__(self) -> None:
        inputs = {"start": In(1), "byte": In(8), "valid": In(1), "shift": In(1)}
        super().__init__({**inputs, "idle": Out(1), "low": Out(8), "match": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        register = Signal(32, init=ONES)
        bits, left, shifting = Signal(8), Signal(range(9)), Signal()
        turned = (register[0] ^ bits[0]) & ~shifting
        m.d.comb += [self.idle.eq(left == 0), self.low.eq(~register[:8]), self.match.eq(register == RESIDUE)]
        with m.If(~self.idle):
            m.d.sync += [left.eq(left - 1), bits.eq(bits[1:])]
            m.d.sync += register.eq(Cat(register[1:], 0) ^ Mux(turned, POLYNOMIAL, 0))
        with m.Elif(self.valid):
            m.d.sync += [left.eq(8), bits.eq(self.byte), shifting.eq(self.shift)]
        with m.If(self.start):
            m.d.sync += register.eq(ONES)
        return m
