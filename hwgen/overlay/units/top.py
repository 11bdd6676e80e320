"""The engine: all units and memories."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import Unit
from .axi import FETCH, OKAY, AxiPorts, Manager, ports
from .fetch import COUNT, Dispatch, Fetch
from .load import LoadUnit
from .multiply import MultiplyUnit
from .scratchpad import Scratchpad
from .store import StoreUnit
from .sums import SumsMemory
from .vector import VectorUnit
from .words import UNCHECKED

__all__ = ["BLOCK", "ERRORS", "OverlayEngine", "OverlayTop"]

BLOCK = 64  #: scales of a lane that are in block RAM; fewer are where synthesis likes
ERRORS = ("a read of external memory", "a write of external memory", "an unknown instruction")  #: bits of ``error``


class OverlayEngine(wiring.Component):
    """A program runs from ``start`` to ``done``.

    Members
    -------
    axi : external memory
    start : begin with these, which must not change until done:
    base, program_address, count : of the external memory's first byte, a multiple of 4 KiB, and in it of the program's, a
        multiple of the bus's bytes; instructions
    busy : a program runs
    done : for one cycle
    retired : units that have carried out an instruction, for one cycle
    error : what has gone wrong since the start: reads of external memory, writes, words that are no instruction
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__({"axi": Out(Manager(engine)), **_control()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        m.submodules.fetch = fetch = Fetch(e)
        m.submodules.dispatch = dispatch = Dispatch(e)
        m.submodules.load = load = LoadUnit(e)
        m.submodules.multiply = multiply = MultiplyUnit(e)
        m.submodules.vector = vector = VectorUnit(e)
        m.submodules.store = store = StoreUnit(e)
        m.submodules.scratchpad = scratchpad = Scratchpad(e)
        m.submodules.sums = sums = SumsMemory(e)
        units: dict[Unit, LoadUnit | MultiplyUnit | VectorUnit | StoreUnit] = {
            Unit.LOAD: load,
            Unit.MULTIPLY: multiply,
            Unit.VECTOR: vector,
            Unit.STORE: store,
        }
        wiring.connect(m, fetch.o, dispatch.i)
        for unit, part in units.items():
            wiring.connect(m, getattr(dispatch, unit.name.lower()), part.i)
            wiring.connect(m, part.finished, getattr(dispatch, f"finished_{unit.name.lower()}"))
            m.d.comb += self.retired[unit].eq(part.finished.done)
        self._bus(m, fetch, load, store)
        self._memories(m, load, multiply, vector)

        # The scratchpad: one access each cycle; the vector unit first, as it has the most to do.
        clients = [vector.port, load.port, store.port]
        m.d.comb += [scratchpad.read_address.eq(multiply.address), multiply.x.eq(scratchpad.read_data)]
        m.d.comb += [store.x.eq(scratchpad.result), vector.x.eq(scratchpad.result)]
        free: Any = 1
        for client in clients:
            if client is not vector.port:
                m.d.comb += client.ready.eq(free)
            with m.If(client.valid & free):
                m.d.comb += [scratchpad.valid.eq(1), scratchpad.access.eq(client.payload)]
            free = free & ~client.valid
        m.d.comb += load.clear.eq(~vector.soon)
        for name in ("soon", "read", "read_entry", "write", "write_entry", "write_data"):
            m.d.comb += getattr(sums, name).eq(getattr(multiply, name))
        for name in ("valid", "entry"):
            m.d.comb += getattr(sums, name).eq(getattr(vector, name))
        m.d.comb += [multiply.read_data.eq(sums.read_data), vector.free.eq(sums.free), vector.data.eq(sums.data)]

        ended = Signal()  # the End has been met
        m.d.comb += [
            fetch.start.eq(self.start & ~self.busy),
            fetch.address.eq(self.base + self.program_address),
            fetch.count.eq(self.count),
            load.base.eq(self.base),
            store.base.eq(self.base),
            self.done.eq(self.busy & ended & fetch.idle),
        ]
        with m.If(self.start & ~self.busy):
            m.d.sync += [self.busy.eq(1), ended.eq(0), self.error.eq(0)]
        with m.Else():
            with m.If(store.end):
                m.d.sync += ended.eq(1)
            with m.If(self.done):
                m.d.sync += self.busy.eq(0)
            for k, wrong in enumerate(
                (self.axi.r.valid & self.axi.r.ready & (self.axi.r.payload.resp != OKAY), store.error, dispatch.unknown)
            ):
                with m.If(wrong):
                    m.d.sync += self.error[k].eq(1)
        return m

    def _bus(self, m: Module, fetch: Fetch, load: LoadUnit, store: StoreUnit) -> None:
        """Reads of both readers; those of the program go first."""
        axi = self.axi
        # An address stays until it is taken, so the choice does.
        held, choice = Signal(), Signal()
        first = Mux(held, choice, fetch.ar.valid)
        m.d.comb += [
            axi.ar.valid.eq(fetch.ar.valid | load.ar.valid),
            axi.ar.payload.eq(Mux(first, fetch.ar.payload.as_value(), load.ar.payload.as_value())),
            fetch.ar.ready.eq(axi.ar.ready & first),
            load.ar.ready.eq(axi.ar.ready & ~first),
            fetch.r.payload.eq(axi.r.payload),
            load.r.payload.eq(axi.r.payload),
            fetch.r.valid.eq(axi.r.valid & (axi.r.payload.id == FETCH)),
            load.r.valid.eq(axi.r.valid & (axi.r.payload.id != FETCH)),
            axi.r.ready.eq(Mux(axi.r.payload.id == FETCH, fetch.r.ready, load.r.ready)),
        ]
        m.d.sync += [held.eq(axi.ar.valid & ~axi.ar.ready), choice.eq(first)]
        for name in ("aw", "w", "b"):
            if name == "b":
                m.d.comb += [store.b.valid.eq(axi.b.valid), store.b.payload.eq(axi.b.payload), axi.b.ready.eq(store.b.ready)]
            else:
                ours, theirs = getattr(store, name), getattr(axi, name)
                m.d.comb += [theirs.valid.eq(ours.valid), theirs.payload.eq(ours.payload), ours.ready.eq(theirs.ready)]

    def _memories(self, m: Module, load: LoadUnit, multiply: MultiplyUnit, vector: VectorUnit) -> None:
        """Weights and scales, with a register behind each, and one before scales."""
        e = self.engine
        bits = e.lanes.bit_length() - 1
        word = Value.cast(load.weights)
        found = []
        for first in range(0, e.columns, e.beside):  # each near to the multipliers of its columns
            mine = word[8 * first : 8 * (first + e.beside)]
            m.submodules[f"weights_{first}"] = weights = Memory(shape=len(mine), depth=e.weights, init=[], attrs=UNCHECKED)
            read, write = weights.read_port(), weights.write_port()
            register = Signal(len(mine), name=f"weights_read_{first}", reset_less=True)
            m.d.comb += [
                read.addr.eq(multiply.weights_address),
                write.addr.eq(load.weights_entry),
                write.data.eq(mine),
                write.en.eq(load.write_weights),
            ]
            m.d.sync += register.eq(read.data)
            found.append(register)
        m.d.comb += Value.cast(multiply.weights).eq(Cat(found))

        # Multipliers and offsets of scales are read at different times.
        parts = (
            ("mult", vector.mults_address, vector.mults, load.scale.mult),
            ("offset", vector.offsets_address, vector.offsets, load.scale.offset),
        )
        addresses = [Signal.like(address, name=f"{name}s_address", reset_less=True) for name, address, _, _ in parts]
        m.d.sync += [here.eq(address) for here, (_, address, _, _) in zip(addresses, parts, strict=True)]
        style = UNCHECKED | ({"ram_style": "block"} if e.scales // e.lanes >= BLOCK else {})
        for lane in range(e.lanes):
            for here, (name, _, out, written) in zip(addresses, parts, strict=True):
                memory = Memory(shape=written.shape(), depth=e.scales // e.lanes, init=[], attrs=style)
                m.submodules[f"{name}s_{lane}"] = memory
                read, write = memory.read_port(), memory.write_port()
                found = Signal(written.shape(), name=f"{name}_{lane}", reset_less=True)
                m.d.comb += [
                    read.addr.eq(here),
                    write.addr.eq(load.entry[bits:]),
                    write.data.eq(written),
                    write.en.eq(load.write_scales & ((load.entry[:bits] == lane) if bits else 1)),
                    out[lane].eq(found),
                ]
                m.d.sync += found.eq(read.data)
        m.d.comb += [
            vector.write.eq(load.write_tables),
            vector.write_entry.eq(load.entry),
            vector.write_data.eq(load.table),
        ]


class OverlayTop(wiring.Component):
    """:class:`OverlayEngine` with the bus under its standard names, see :class:`~hwgen.overlay.units.axi.AxiPorts`."""

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(ports(engine) | _control())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.engine = engine = OverlayEngine(self.engine)
        m.submodules.bus = bus = AxiPorts(self.engine)
        wiring.connect(m, engine.axi, bus.axi)
        for part, members in ((engine, _control()), (bus, ports(self.engine))):
            for name, member in members.items():
                ours, theirs = getattr(self, name), getattr(part, name)
                m.d.comb += ours.eq(theirs) if member.flow == Out else theirs.eq(ours)
        return m


def _control() -> dict[str, wiring.Member]:
    """Members of the engine but for the bus."""
    return {
        "start": In(1),
        "base": In(32),
        "program_address": In(32),
        "count": In(COUNT),
        "busy": Out(1),
        "done": Out(1),
        "error": Out(len(ERRORS)),
        "retired": Out(len(Unit)),
    }
