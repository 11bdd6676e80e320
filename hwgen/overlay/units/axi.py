"""AXI4 (Arm IHI 0022) as far as the engine uses it: incrementing bursts of whole beats, one identifier for each reader."""

from functools import partial
from typing import Any

from amaranth import Array, Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from ..engine import Engine

__all__ = ["BURST", "FETCH", "LOAD", "OKAY", "AxiPorts", "Manager", "burst", "ports", "until_boundary"]

BURST = 16  #: beats at most; a burst ends where a multiple of so many begins, so none crosses 4 KiB
LOAD, FETCH = 0, 1  #: identifiers of reads
OKAY = 0
INCREMENTING, MODIFIABLE = 0b01, 0b0011  #: kinds of bursts, of memory


class Manager(wiring.Signature):
    """The five channels, as streams; ``length`` is in beats: 1..BURST. Reads have an identifier."""

    def __init__(self, engine: Engine):
        beat = 8 * engine.bus
        super().__init__(
            {
                "ar": Out(stream.Signature(StructLayout({"address": 32, "length": range(BURST + 1), "id": 1}))),
                "r": In(stream.Signature(StructLayout({"data": beat, "id": 1, "resp": 2}))),
                "aw": Out(stream.Signature(StructLayout({"address": 32, "length": range(BURST + 1)}))),
                "w": Out(stream.Signature(StructLayout({"data": beat, "strobe": engine.bus, "last": 1}))),
                "b": In(stream.Signature(2)),
            }
        )


class AxiPorts(wiring.Component):
    """The bus under its standard names, ``m_axi_araddr`` and so on.

    Members
    -------
    axi : the streams
    m_axi_* : the ports
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__({"axi": In(Manager(engine)), **ports(engine)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for channel in ("ar", "aw"):
            stream_of, port = getattr(self.axi, channel), partial(self._port, channel)
            m.d.comb += [
                port("addr").eq(stream_of.payload.address),
                port("len").eq(stream_of.payload.length - 1),
                port("size").eq(self.engine.bus.bit_length() - 1),
                port("burst").eq(INCREMENTING),
                port("cache").eq(MODIFIABLE),
            ]
        m.d.comb += [
            self.m_axi_arid.eq(self.axi.ar.payload.id),
            self.m_axi_wdata.eq(self.axi.w.payload.data),
            self.m_axi_wstrb.eq(self.axi.w.payload.strobe),
            self.m_axi_wlast.eq(self.axi.w.payload.last),
            self.axi.r.payload.data.eq(self.m_axi_rdata),
            self.axi.r.payload.resp.eq(self.m_axi_rresp),
            self.axi.r.payload.id.eq(self.m_axi_rid),
            self.axi.b.payload.eq(self.m_axi_bresp),
        ]
        for channel in ("ar", "aw", "w"):
            ours = getattr(self.axi, channel)
            m.d.comb += [self._port(channel, "valid").eq(ours.valid), ours.ready.eq(self._port(channel, "ready"))]
        for channel in ("r", "b"):
            ours = getattr(self.axi, channel)
            m.d.comb += [ours.valid.eq(self._port(channel, "valid")), self._port(channel, "ready").eq(ours.ready)]
        return m

    def _port(self, channel: str, name: str) -> Any:
        return getattr(self, f"m_axi_{channel}{name}")


def ports(engine: Engine) -> dict[str, wiring.Member]:
    """The bus under its standard names."""
    beat = 8 * engine.bus
    address = {"addr": 32, "len": 8, "size": 3, "burst": 2, "id": 1, "prot": 3, "cache": 4, "lock": 1, "qos": 4}
    write = {"data": beat, "strb": engine.bus, "last": 1}
    read = {"data": beat, "resp": 2, "last": 1, "id": 1}
    members: dict[str, wiring.Member] = {}
    for channel, outgoing, fields in (
        ("ar", True, address),
        ("aw", True, address),
        ("w", True, write),
        ("r", False, read),
        ("b", False, {"resp": 2, "id": 1}),
    ):
        there, back = (Out, In) if outgoing else (In, Out)
        members |= {f"m_axi_{channel}{name}": there(bits) for name, bits in (fields | {"valid": 1}).items()}
        members[f"m_axi_{channel}ready"] = back(1)
    return members


def burst(address: Value, beats: Value, engine: Engine) -> Value:
    """Beats of the next burst of ``beats`` from byte ``address`` on."""
    until = until_boundary(address, engine)
    return Mux(beats < until, beats, until)


def until_boundary(address: Value, engine: Engine) -> Value:
    """Beats from byte ``address`` until a burst must end."""
    shift = engine.bus.bit_length() - 1
    return Array(BURST - k for k in range(BURST))[address[shift : shift + BURST.bit_length() - 1]]
