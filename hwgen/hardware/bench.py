"""A test bench for emitted Verilog: feed streams, take streams, watch streams; cocotb and Verilator run it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arith import IntType
from ..errors import HwgenError
from ..streams import Stream, Words
from .verilator import sim_folder, verilate

__all__ = ["Bench", "Channel", "Outcome", "pack", "unpack"]

_CHUNK = 1 << 16  #: words packed or unpacked at once


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
    """

    name: str
    stream: Stream
    payload: str
    valid: str
    ready: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a run did. Cycles are counted from the end of reset; a transfer belongs to the clock edge that ends its cycle.

    Parameters
    ----------
    complete
        All words of all frames came out.
    stuck
        Nothing moved any more; where neither, the cycle limit was met.
    cycles, seconds
        Simulated, and the wall time that took.
    counts
        Words transferred on each channel.
    state
        (valid, ready) of each channel at the end.
    violated
        Channels on which an offered word was withdrawn or changed before it was taken.
    first_in
        For each source the cycles at which frames' first words were transferred.
    last_out
        For each sink the cycles at which frames' last words were transferred.
    """

    complete: bool
    stuck: bool
    cycles: int
    seconds: float
    counts: dict[str, int]
    state: dict[str, tuple[bool, bool]]
    violated: tuple[str, ...]
    first_in: dict[str, np.ndarray]
    last_out: dict[str, np.ndarray]
    folder: Path

    def words(self, channel: Channel, start: int, stop: int) -> Words:
        """Words ``start`` to ``stop`` that ``channel`` (a sink or a probe) transferred; fewer where it did not get so far."""
        size = 4 * -(-channel.stream.bits // 32)
        raw = np.fromfile(self.folder / f"{channel.name}.bin", np.uint8, (stop - start) * size, offset=start * size)
        raw = raw[: len(raw) // size * size].reshape(-1, size)
        return unpack(raw, channel.stream.element, channel.stream.lanes)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A device under test, and the streams to feed, take and watch.

    Parameters
    ----------
    name, verilog
        Top module and its text.
    sources, sinks, probes
        Streams fed, taken and watched; ``words`` of their ``stream`` make a frame.
    seen
        Streams whose handshake alone is looked at: movement on them is progress, and at the end their state is noted.
    clocked
        Whether the top has ``clk`` and ``rst`` ports.
    """

    name: str
    verilog: str
    sources: tuple[Channel, ...]
    sinks: tuple[Channel, ...]
    probes: tuple[Channel, ...] = ()
    seen: tuple[Channel, ...] = ()
    clocked: bool = True

    def run(
        self,
        inputs: Sequence[Words],
        folder: Path,
        *,
        frames: int,
        seed: int = 0,
        idle_limit: int = 100_000,
        limit: int | None = None,
        trace: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Outcome:
        """Feed ``frames`` frames of ``inputs`` (words for each source) and collect what comes out in files in ``folder``.

        Parameters
        ----------
        seed
            Of the random pauses at both ends; 0: input always there, output always taken.
        idle_limit, limit
            Give up after so many cycles without any transfer, or in all.
        trace
            Where to write the waveform (FST).
        progress
            Called now and then with the number of frames that are out.

        Raises
        ------
        HwgenError
            If the simulation cannot be built or does not start.
        """
        if trace is not None and not trace.absolute().parent.is_dir():
            raise HwgenError(f"cannot write the waveform {trace}: there is no such folder")
        harness = (sim_folder() / "harness.v").read_text()
        sources = {"tb.v": self.testbench(), "harness.v": harness, f"{self.name}.v": self.verilog}
        model = verilate(sources, "tb", trace=trace is not None)
        for channel, words in zip(self.sources, inputs, strict=True):
            with open(folder / f"{channel.name}.bin", "wb") as file:
                for start in range(0, len(words), _CHUNK):
                    file.write(pack(words[start : start + _CHUNK], channel.stream.element)[:, ::-1].tobytes())
        command = [str(model), f"+frames={frames}", f"+seed={seed}", f"+idle_limit={idle_limit}"]
        if trace is not None:
            command += ["--trace", "--trace-file", str(trace.absolute())]
        _execute(command, folder, (1 << 62) if limit is None else limit, progress)
        return self._outcome(folder)

    def _outcome(self, folder: Path) -> Outcome:
        run = json.loads((folder / "run.json").read_text())
        lines = [line.split() for line in (folder / "state").read_text().splitlines()]

        def times(name: str) -> np.ndarray:
            return np.array((folder / f"{name}.times").read_text().split(), np.int64)

        return Outcome(
            complete=run["complete"],
            stuck=run["stopped"] and not run["complete"],
            cycles=run["cycles"],
            seconds=run["seconds"],
            counts={name: int(count) for name, count, *_ in lines},
            state={name: (valid == "1", ready == "1") for name, _, valid, ready, _ in lines},
            violated=tuple(name for name, *_, violated in lines if violated == "1"),
            first_in={c.name: times(c.name) for c in self.sources},
            last_out={c.name: times(c.name) for c in self.sinks},
            folder=folder,
        )

    def testbench(self) -> str:
        """The Verilog of the module ``tb`` around the device, to go with sim/harness.v."""
        ends, ports = [], [".clk(clk), .rst(rst)"] if self.clocked else []
        for index, c in enumerate(self.sources):
            ends.append(_source(c, index))
            ports.append(_ports(c))
        for index, c in enumerate(self.sinks):
            ends.append(_sink(c, index))
            ports.append(_ports(c))
        ends += [_probe(c) for c in self.probes] + [_seen(c) for c in self.seen]
        everything = (*self.sources, *self.sinks, *self.probes, *self.seen)
        states = [
            f'      $fwrite(state, "{c.name} %0d %0d %0d %0d\\n",\n'
            f"        {c.name}_count, {c.name}_valid, {c.name}_ready, {c.name}_violated);"
            for c in everything
        ]
        flush = "\n".join(f"      $fflush({c.name}_file);" for c in (*self.sources, *self.sinks, *self.probes))
        done = " && ".join(f"{c.name}_count >= frames * {c.stream.words}" for c in self.sinks)
        out = f"{self.sinks[0].name}_count / {self.sinks[0].stream.words}"
        moving = " | ".join(f"({c.name}_valid & {c.name}_ready)" for c in everything)
        return _TESTBENCH.format(
            ends="\n".join(ends),
            dut=f"  {self.name} dut (\n    " + ",\n    ".join(ports) + "\n  );",
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
  hwgen_source #(.BITS({c.stream.bits}), .WORDS({c.stream.words})) {c.name}_source (
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


def _execute(command: Sequence[str], folder: Path, limit: int, progress: Callable[[int], None] | None) -> None:
    import find_libpython
    from cocotb_tools import config

    log = folder / "log.txt"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COCOTB_", "PYTEST_"))}
    env |= {
        "GPI_USERS": f"{find_libpython.find_libpython()};{config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(sim_folder()), *sys.path]),
        "COCOTB_TOPLEVEL": "tb",
        "COCOTB_TEST_MODULES": "cocotb_bench",
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "TOPLEVEL_LANG": "verilog",
        "HWGEN_RUN": str(folder),
        "HWGEN_LIMIT": str(limit),
    }
    with open(log, "wb") as output, subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output) as process:
        try:
            while process.poll() is None:
                time.sleep(0.02)
                if progress is not None and (folder / "progress").exists():
                    progress(int((folder / "progress").read_text()))
        except BaseException:
            process.kill()
            raise
    if process.returncode or not (folder / "run.json").exists():
        raise HwgenError("the simulation broke off:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]))


def pack(words: Words, element: IntType) -> np.ndarray:
    """(n, lanes) integers to (n, bytes) uint8: element k in bits ``k * element.bits`` and up, lowest byte first."""
    if element.bits in (8, 16, 32):
        return np.ascontiguousarray(words).astype(f"<i{element.bits // 8}").view(np.uint8).reshape(len(words), -1)
    bits = (np.asarray(words, np.int64)[:, :, None] >> np.arange(element.bits)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(len(words), -1), axis=1, bitorder="little")


def unpack(raw: np.ndarray, element: IntType, lanes: int) -> Words:
    """The reverse of :func:`pack`; surplus bytes of a word are ignored."""
    if element.bits in (8, 16, 32):
        used = np.ascontiguousarray(raw[:, : lanes * element.bits // 8])
        return used.view(f"<{'i' if element.signed else 'u'}{element.bits // 8}").astype(np.int64)
    bits = np.unpackbits(raw, axis=1, count=lanes * element.bits, bitorder="little").reshape(len(raw), lanes, element.bits)
    weights = 1 << np.arange(element.bits, dtype=np.int64)
    if element.signed:
        weights[-1] *= -1
    return bits @ weights
