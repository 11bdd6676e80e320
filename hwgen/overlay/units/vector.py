"""The vector unit: requantising, tables, pooling, softmax."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import OPCODE, Combine, Drain, Instruction, Pool, Softmax, Unit
from .combine import CombineUnit
from .drain import DrainUnit, scales_side
from .pool import PoolUnit
from .softmax import SoftmaxUnit
from .sums import vector_side
from .words import Finished, Target, chunk, first_bytes, instructions, kinds_of, port_signature

__all__ = ["VectorUnit"]

_Part = DrainUnit | CombineUnit | PoolUnit | SoftmaxUnit
MOST = 31  #: results on their way: not more than cycles from a beginning to a result


class VectorUnit(wiring.Component):
    """One of the parts works at a time; what they make goes to the scratchpad as it comes.

    An instruction begins when the results of the one before are written; requantising while those of another requantising are.

    Members
    -------
    i : instructions, tokens taken
    finished : their ends
    soon : there is an access in the next cycle
    port, x : accesses of the scratchpad, which are taken at once; bytes ``PORT_LATENCY`` cycles after an access
    free, valid, entry, data : of the memory of sums
    mults_address, mults, offsets_address, offsets : see :class:`~hwgen.overlay.units.drain.DrainUnit`
    write, write_entry, write_data : of the tables
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        super().__init__(
            {
                "i": In(instructions(*kinds_of(Unit.VECTOR, engine))),
                "finished": Out(Finished()),
                "port": Out(port_signature(engine, always_ready=True)),
                "soon": Out(1),
                "x": In(chunk(1, engine.banks)),
                **vector_side(engine),
                **scales_side(engine),
                "write": In(1),
                "write_entry": In(9),
                "write_data": In(signed(32)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        e = self.engine
        m.submodules.drain = drain = DrainUnit(e)
        m.submodules.combine = combine = CombineUnit(e)
        m.submodules.pool = pool = PoolUnit(e)
        parts: dict[type[Instruction], _Part] = {Drain: drain, Combine: combine, Pool: pool}
        reads: list[CombineUnit | PoolUnit | SoftmaxUnit] = [combine, pool]
        tables: list[CombineUnit | SoftmaxUnit] = [combine]
        if e.softmax:
            m.submodules.softmax = parts[Softmax] = softmax = SoftmaxUnit(e)
            reads.append(softmax)
            tables.append(softmax)

        # Which part goes on. All results of another one are written before.
        there = Signal(range(MOST + 1))  # results on their way
        drains, none, idle = Signal(), Signal(), Signal(init=1)  # they are of requantising; none are left; no part has work
        written = Signal()
        issued = Cat(part.issued for part in parts.values()).any()
        chosen = {kind: Signal(name=f"is_{kind.__name__}".lower()) for kind in parts}
        takes = self.i.valid & self.i.ready
        for kind, part in parts.items():
            m.d.sync += chosen[kind].eq(self.i.payload[:OPCODE] == kind.opcode)
            m.d.comb += [
                part.i.payload.eq(self.i.payload),
                part.i.valid.eq(self.i.valid & chosen[kind] & (idle | drains if kind is Drain else idle)),
            ]
        m.d.comb += [
            self.i.ready.eq(idle | (chosen[Drain] & drains & drain.i.ready)),
            none.eq(~issued & ((there == 0) | (written & (there == 1)))),
        ]
        m.d.sync += idle.eq(Cat(part.i.ready for part in parts.values()).all() & none & ~takes)
        with m.If(takes):
            m.d.sync += drains.eq(chosen[Drain])

        # Results are written as they come; meanwhile nothing is read.
        result = data.StructLayout({"target": Target(e), "data": chunk(1, e.lanes)})
        come = [Mux(part.results.valid, Cat(part.results.target, part.results.data), 0) for part in parts.values()]
        out = data.View(result, reduce(or_, come))
        port = self.port.payload
        address = reads[-1].address
        for part in reads[-2::-1]:
            address = Mux(part.valid, part.address, address)
        m.d.comb += [
            written.eq(Cat(part.results.valid for part in parts.values()).any()),
            pool.ready.eq(~pool.results.valid),
            *(part.x.eq(self.x) for part in reads),
            self.soon.eq(written | Cat(part.valid for part in reads).any()),
        ]
        m.d.sync += [
            self.port.valid.eq(self.soon),
            port.write.eq(written),
            port.address.eq(Mux(written, out.target.address, address)),
            port.mask.eq(first_bytes(out.target.count, e.banks)),
            *(a.eq(b) for a, b in zip(port.data, out.data, strict=False)),
            there.eq(there + issued - written),
            self.finished.done.eq(written & out.target.ends),
            self.finished.signal.eq(out.target.signal),
        ]
        for name in ("free", "data", "mults", "offsets"):
            m.d.comb += getattr(drain, name).eq(getattr(self, name))
        for name in ("valid", "entry", "mults_address", "offsets_address"):
            m.d.comb += getattr(self, name).eq(getattr(drain, name))
        for part in tables:
            for name in ("write", "write_entry", "write_data"):
                m.d.comb += getattr(part, name).eq(getattr(self, name))
        return m
