"""The whole accelerator as one Amaranth component."""

from typing import Any

import numpy as np
from amaranth import Cat, ClockDomain, ClockSignal, Const, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..mapping.design import Design, Port, Stage
from ..streams import Stream
from ..templates.settings import Configurable
from .settings_loader import SettingsLoader
from .verilog import check_name

__all__ = ["Top", "axis", "check_design", "wires"]


def axis(stream: Stream) -> Stream:
    """``stream`` as AXI4-Stream carries it: each element in whole bytes, sign- or zero-extended; at most 56 bits."""
    element = IntType(-(-stream.element.bits // 8) * 8, stream.element.signed)
    return Stream(element=element, lanes=stream.lanes, words=stream.words)


def wires(design: Design, source: Port) -> str:
    """Name of the top-level wires of the stream that leaves ``source``: followed by ``__payload``, ``__valid``, ``__ready``."""
    if not source.stage:
        return "input"
    return f"{source.stage}__{design.stage(source.stage).o_ports[source.index]}"


def check_design(design: Design) -> None:
    """Raise ``ValueError`` where the names or links of ``design`` cannot become Verilog."""
    names = [stage.name for stage in design.stages]
    for name in names:
        check_name("stage name", name)
        if name.startswith(("s_axis_", "m_axis_")) or name in ("clk", "rst") or names.count(name) > 1:
            raise ValueError(f"stage name must be unique and no port of the top, not {name!r}")
    for link in design.links:
        if link.sink.stage:
            source, sink = design.stream(link.source), design.stage(link.sink.stage).params.inputs[link.sink.index]
            if source != sink:
                raise ValueError(f"link {link.source} to {link.sink}: streams must be equal, not {source} and {sink}")


def _early(stage: Stage) -> bool:
    """Whether the first word of a later frame can be there before any of that frame's input."""
    params = stage.params
    following = np.array([params.outputs[0].words])
    return all(int(params.needed(following, port)[0]) <= s.words for port, s in enumerate(params.inputs))


class Top(wiring.Component):
    """``design`` with AXI4-Stream ports (Arm IHI 0051).

    Each stage is a submodule of its name; each stream between two stages is a set of wires named by :func:`wires`.
    Latency and throughput are those of the stages: the ports add no cycles.

    Members
    -------
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast
        The input stream: element 0 of a word in the lowest byte(s). ``tlast`` is not looked at: frames are counted.
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast
        The output stream; ``tlast`` marks the last word of a frame.

    Raises
    ------
    ValueError
        If a stage's name is not a Verilog identifier or not unique, or a link joins streams that differ
        (:func:`check_design`).
    """

    def __init__(self, design: Design):
        self.design = design
        check_design(design)
        i, o = axis(design.input), axis(design.output)
        super().__init__(
            {
                "s_axis_tdata": In(i.bits),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "s_axis_tlast": In(1),
                "m_axis_tdata": Out(o.bits),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        components = {stage.name: stage.create() for stage in self.design.stages}
        busy = self._configure(m, [c for c in components.values() if isinstance(c, Configurable) and c.settings])
        for name, component in components.items():
            m.submodules[name] = component if busy is None else DomainRenamer("configured")(component)

        def allowed(value: Value) -> Value:
            return value if busy is None else value & ~busy

        for link in self.design.links:
            stream, name = self.design.stream(link.source), wires(self.design, link.source)
            payload = Signal(stream.bits, name=f"{name}__payload")
            valid = Signal(name=f"{name}__valid")
            ready = Signal(name=f"{name}__ready")
            if link.source.stage:
                port = getattr(components[link.source.stage], name.rsplit("__", 1)[1])
                m.d.comb += [payload.eq(port.payload.as_value()), valid.eq(port.valid), port.ready.eq(ready)]
            else:
                step, bits = axis(stream).element.bits, stream.element.bits
                lanes = [self.s_axis_tdata[k * step : k * step + bits] for k in range(stream.lanes)]
                m.d.comb += [
                    payload.eq(Cat(lanes)),
                    valid.eq(allowed(self.s_axis_tvalid)),
                    self.s_axis_tready.eq(allowed(ready)),
                ]
            if link.sink.stage:
                port = getattr(components[link.sink.stage], self.design.stage(link.sink.stage).i_ports[link.sink.index])
                m.d.comb += [port.payload.as_value().eq(payload), port.valid.eq(valid), ready.eq(port.ready)]
            else:
                m.d.comb += self._output(m, stream, payload, valid, ready)
        return m

    def _configure(self, m: Module, components: list[Configurable]) -> Signal | None:
        """Fill the settings of ``components`` after reset; what says that it is under way, and resets the stages meanwhile."""
        if not components:
            return None
        bits = [bit for component in reversed(components) for bit in component.setting_bits]
        m.submodules.settings = loader = SettingsLoader(bits)
        m.domains.configured = domain = ClockDomain()
        m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(loader.busy)]
        bit: Value = loader.bit
        for component in components:
            m.d.comb += [component.shift_settings.eq(loader.shift), component.settings_i.eq(bit)]
            bit = component.settings_o
        return loader.busy

    def _under_way(self, m: Module, leaves: Value) -> Value:
        """Whether a frame has begun to come in whose last word has not left (``leaves``) yet.

        Only asked where a stage makes a frame's first words, padding, before any of it has come in.
        """
        if not any(_early(stage) for stage in self.design.stages):
            return Const(1)
        words = self.design.input.words
        frames, place = Signal(16), Signal(range(words))
        enters = self.s_axis_tvalid & self.s_axis_tready
        with m.If(enters):
            m.d.sync += place.eq(Mux(place == words - 1, 0, place + 1))
        m.d.sync += frames.eq(frames + (enters & (place == 0)) - leaves)
        return frames != 0

    def _output(self, m: Module, stream: Stream, payload: Signal, valid: Signal, ready: Signal) -> list[Any]:
        last = Signal(init=stream.words == 1)
        under_way = self._under_way(m, valid & ready & last)
        if stream.words > 1:
            left = Signal(range(stream.words), init=stream.words - 1)  # words of the frame after the one offered
            with m.If(valid & ready):
                m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
                with m.If(last):
                    m.d.sync += left.eq(stream.words - 1)
        elements = [Signal(stream.element.shape, name=f"output_{k}") for k in range(stream.lanes)]
        wide = [Signal(axis(stream).element.shape, name=f"output_byte_{k}") for k in range(stream.lanes)]
        m.d.comb += [Cat(elements).eq(payload), *(w.eq(e) for w, e in zip(wide, elements, strict=True))]
        return [
            self.m_axis_tdata.eq(Cat(wide)),
            self.m_axis_tvalid.eq(valid & under_way),
            self.m_axis_tlast.eq(last),
            ready.eq(self.m_axis_tready & under_way),
        ]
