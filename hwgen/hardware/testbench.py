"""The Verilog around a device under test, made for its streams; sim/harness.v has the modules it places."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..streams import Stream

if TYPE_CHECKING:
    from .bench import Bench

__all__ = ["Channel", "testbench"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A stream of the device under test.

    Parameters
    ----------
    name
        Unique in the bench, a Verilog identifier.
    stream
        What one of its words holds: element k of a word in bits ``k * element.bits`` and up.
    payload, valid, ready
        Names of the signals: ports for what is fed and taken, top-level wires for what is watched.
    lead
        Words that come before the first frame's.
    """

    name: str
    stream: Stream
    payload: str
    valid: str
    ready: str
    lead: int = 0


def testbench(bench: "Bench") -> str:
    """The Verilog of the module ``tb`` around the device of ``bench``, to go with sim/harness.v."""
    ends, ports = [], [".clk(clk), .rst(rst)"] if bench.clocked else []
    for index, c in enumerate(bench.sources):
        ends.append(_source(c, index))
        ports.append(_ports(c))
    for index, c in enumerate(bench.sinks):
        ends.append(_sink(c, index))
        ports.append(_ports(c))
    ends += [_probe(c) for c in bench.probes] + [_seen(c) for c in bench.seen]
    everything = (*bench.sources, *bench.sinks, *bench.probes, *bench.seen)
    states = [
        f'      $fwrite(state, "{c.name} %0d %0d %0d %0d\\n",\n'
        f"        {c.name}_count, {c.name}_valid, {c.name}_ready, {c.name}_violated);"
        for c in everything
    ]
    flush = "\n".join(f"      $fflush({c.name}_file);" for c in (*bench.sources, *bench.sinks, *bench.probes))
    done = " && ".join(f"{c.name}_count >= frames * {c.stream.words}" for c in bench.sinks)
    out = f"{bench.sinks[0].name}_count / {bench.sinks[0].stream.words}"
    moving = " | ".join(f"({c.name}_valid & {c.name}_ready)" for c in everything)
    return _TESTBENCH.format(
        ends="\n".join(ends),
        dut=f"  {bench.name} dut (\n    " + ",\n    ".join(ports) + "\n  );",
        done=done,
        out=out,
        moving=moving,
        states="\n".join(states) + "\n" + flush,
    )


_TESTBENCH = """\
module tb;
  reg clk /* verilator public_flat_rw */;
  reg rst /* verilator public_flat_rw */;
  reg report /* verilator public_flat_rw */;
  reg [63:0] cycle /* verilator public_flat_rd */;
  reg stopped /* verilator public_flat_rd */;
  reg complete /* verilator public_flat_rd */;
  reg [63:0] frames_out /* verilator public_flat_rd */;
  reg [63:0] frames, idle, idle_limit, after;
  reg [31:0] seed;
  integer state, code;
  initial begin
    clk = 0; rst = 1; report = 0; cycle = 0; stopped = 0; complete = 0; frames_out = 0;
    idle = 0; after = 0;
    code = $value$plusargs("frames=%d", frames);
    code = $value$plusargs("seed=%d", seed);
    code = $value$plusargs("idle_limit=%d", idle_limit);
  end

{ends}

{dut}

  // Stops some cycles after the last word, so that a word too many is seen.
  wire done = {done};
  always @(posedge clk)
    if (!rst && !stopped) begin
      cycle <= cycle + 1;
      idle <= ({moving}) ? 0 : idle + 1;
      frames_out <= {out};
      complete <= done;
      after <= done ? after + 1 : 0;
      stopped <= after >= 64 || idle >= idle_limit;
    end
  always @(posedge clk)
    if (report) begin
      state = $fopen("state", "w");
{states}
      $fclose(state);
    end
endmodule
"""


def _ports(c: Channel) -> str:
    return ", ".join(
        f".{port}({c.name}_{role})" for role, port in (("payload", c.payload), ("valid", c.valid), ("ready", c.ready))
    )


def _declare(c: Channel, mode: str) -> str:
    return f"""\
  // {c.name}
  wire [{c.stream.bits - 1}:0] {c.name}_payload;
  wire {c.name}_valid, {c.name}_ready, {c.name}_violated;
  wire [63:0] {c.name}_count;
  integer {c.name}_file;
  initial {c.name}_file = $fopen("{c.name}.bin", "{mode}");
"""


def _source(c: Channel, index: int) -> str:
    return (
        _declare(c, "rb")
        + _times_and_pause(c, index)
        + f"""\
  assign {c.name}_violated = 0;
  hwgen_source #(.BITS({c.stream.bits}), .WORDS({c.stream.words}), .LEAD({c.lead})) {c.name}_source (
    .clk(clk), .rst(rst), .pause({c.name}_pause), .cycle(cycle), .frames(frames), .file({c.name}_file), .times({c.name}_times),
    .payload({c.name}_payload), .valid({c.name}_valid), .ready({c.name}_ready), .count({c.name}_count));"""
    )


def _sink(c: Channel, index: int) -> str:
    return (
        _declare(c, "wb")
        + _times_and_pause(c, index + 1000)
        + f"  assign {c.name}_ready = !{c.name}_pause;\n"
        + _monitor(c, f"{c.name}_times")
    )


def _probe(c: Channel) -> str:
    wires = "\n".join(
        f"  assign {c.name}_{role} = dut.{signal};"
        for role, signal in (("payload", c.payload), ("valid", c.valid), ("ready", c.ready))
    )
    return _declare(c, "wb") + wires + "\n" + _monitor(c, "0")


def _seen(c: Channel) -> str:
    return f"""\
  // {c.name}
  wire {c.name}_valid = dut.{c.valid};
  wire {c.name}_ready = dut.{c.ready};
  wire {c.name}_violated = 0;
  wire {c.name}_count = 0;"""


def _times_and_pause(c: Channel, index: int) -> str:
    return f"""\
  integer {c.name}_times;
  initial {c.name}_times = $fopen("{c.name}.times", "w");
  wire {c.name}_pause;
  hwgen_pause {c.name}_pauses (.clk(clk), .cycle(cycle), .pause({c.name}_pause),
    .seed(seed == 0 ? 0 : seed * 32'd2654435769 + {index}));
"""


def _monitor(c: Channel, times: str) -> str:
    return f"""\
  hwgen_monitor #(.BITS({c.stream.bits}), .WORDS({c.stream.words})) {c.name}_monitor (
    .clk(clk), .rst(rst), .cycle(cycle), .file({c.name}_file), .times({times}), .payload({c.name}_payload),
    .valid({c.name}_valid), .ready({c.name}_ready), .count({c.name}_count), .violated({c.name}_violated));"""
