"""Serial bytes, 8N1: a start bit (0), eight data bits, lowest first, a stop bit (1)."""

from fractions import Fraction
from typing import Any

from amaranth import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "sixteenths"]


def sixteenths(cycles_per_bit: Fraction | float) -> int:
    """Clock cycles per bit in sixteenths, the unit of the dividers: off by at most 1/32 of a cycle.

    Raises
    ------
    ValueError
        For less than four cycles, where bits can no longer be sampled near their middle.
    """
    if not 4 <= cycles_per_bit < 1 << 20:
        raise ValueError(f"cycles_per_bit must be in 4..{(1 << 20) - 1}, not {cycles_per_bit!r}")
    return round(16 * Fraction(cycles_per_bit))


class UartReceiver(wiring.Component):
    """Bytes from a serial line.

    A byte whose stop bit is missing is dropped. There is no buffer: bytes come at least ten bits apart.

    Members
    -------
    rx : input, asynchronous
    byte : the byte received
    valid : 1 for the one cycle in which ``byte`` is new
    """

    def __init__(self, cycles_per_bit: Fraction | float):
        self.period = sixteenths(cycles_per_bit)
        super().__init__({"rx": In(1, init=1), "byte": Out(8), "valid": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        left = Signal(range(2 * self.period))  # until the next sample, in sixteenths of a cycle
        bits = Signal(range(10))  # samples to come after the next one
        sample = Signal()
        m.d.comb += sample.eq(left < 16)
        m.d.sync += self.valid.eq(0)
        with m.FSM():
            with m.State("idle"):
                # The edge lies half a cycle back on average; the next look is a cycle ahead.
                m.d.sync += [left.eq(self.period // 2 - 8 - 16), bits.eq(9)]
                with m.If(~rx):
                    m.next = "byte"
            with m.State("byte"):
                m.d.sync += left.eq(left - 16)
                with m.If(sample):
                    m.d.sync += [left.eq(left + (self.period - 16)), bits.eq(bits - 1)]
                    with m.If(bits == 0):
                        m.d.sync += self.valid.eq(rx)
                        m.next = "stop"
                    with m.Else():
                        m.d.sync += self.byte.eq(Cat(self.byte[1:], rx))
                    with m.If((bits == 9) & rx):  # no start bit, a spike
                        m.next = "idle"
            with m.State("stop"), m.If(rx):
                m.next = "idle"
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto a serial line, one right after the other where they are there in time.

    Members
    -------
    i : stream of bytes
    tx : output
    """

    def __init__(self, cycles_per_bit: Fraction | float):
        self.period = sixteenths(cycles_per_bit)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left = Signal(range(16 + self.period))  # of this bit, in sixteenths of a cycle
        bits = Signal(range(10))  # to follow this one
        rest = Signal(9, init=0x1FF)  # those bits, ones behind
        end = Signal()
        m.d.comb += [end.eq(left < 16), self.i.ready.eq(end & (bits == 0))]
        with m.If(~end):
            m.d.sync += left.eq(left - 16)
        with m.Elif(bits != 0):
            m.d.sync += [left.eq(left + (self.period - 16)), bits.eq(bits - 1), Cat(self.tx, rest).eq(Cat(rest, C(1, 1)))]
        with m.Elif(self.i.valid):
            m.d.sync += [left.eq(left + (self.period - 16)), bits.eq(9), self.tx.eq(0), rest.eq(Cat(self.i.payload, C(1, 1)))]
        return m
