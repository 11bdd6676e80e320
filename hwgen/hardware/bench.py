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
from ..streams import Words
from .testbench import Channel, testbench
from .verilator import sim_folder, verilate

__all__ = ["Bench", "Channel", "Outcome", "pack", "unpack"]

_CHUNK = 1 << 16  #: words packed or unpacked at once


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
        """Words ``start`` to ``stop`` of frames on ``channel`` (a sink or a probe); fewer where it did not get so far."""
        size = 4 * -(-channel.stream.bits // 32)
        start, stop = start + channel.lead, stop + channel.lead
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
        sources = {"tb.v": testbench(self), "harness.v": harness, f"{self.name}.v": self.verilog}
        model = verilate(sources, "tb", trace=trace is not None)
        for channel, words in zip(self.sources, inputs, strict=True):
            with open(folder / f"{channel.name}.bin", "wb") as file:
                for start in range(0, len(words), _CHUNK):
                    file.write(pack(words[start : start + _CHUNK], channel.stream.element)[:, ::-1].tobytes())
        command = [str(model), f"+frames={frames}", f"+seed={seed}", f"+idle_limit={idle_limit}"]
        command += ["+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"]  # what nothing has written holds random bits
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
