"""Run emitted Verilog on frames and compare every tensor with what it must be."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .arith import IntType
from .errors import HwgenError
from .hardware.bench import Bench, Channel, Outcome, unpack
from .hardware.top import axis
from .output import read_manifest, read_session, read_verilog
from .streams import Stream

__all__ = ["Mismatch", "SimulationResult", "simulate"]

_SHARE = 1 << 22  #: elements compared at once


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """An element that differs.

    Parameters
    ----------
    tensor, aliases
        Of the graph, and its names in the ONNX file.
    index
        (row, column, channel).
    """

    tensor: str
    aliases: tuple[str, ...]
    frame: int
    index: tuple[int, int, int]
    expected: int
    got: int

    def __str__(self) -> str:
        names = f" ({', '.join(self.aliases)})" if self.aliases else ""
        place = ", ".join(map(str, self.index))
        return f"layer {self.tensor}{names}: frame {self.frame}, element [{place}]: expected {self.expected}, got {self.got}"


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulationResult:
    """What a simulation found.

    Parameters
    ----------
    mismatches
        Elements that differ, all tensors together; ``by_tensor`` has the number of each.
    first_mismatch
        In the first tensor of the design, in order of the data's way, that has one.
    interval_cycles
        Between the last output words of the last two frames; None for a single frame.
    intervals
        All of them: one less than frames.
    latency_cycles
        From the first input word of the first frame in to its last output word out.
    output
        (N, H, W, C): what the accelerator computed.
    """

    frames: int
    elements_compared: int
    mismatches: int
    by_tensor: dict[str, int]
    first_mismatch: Mismatch | None
    interval_cycles: int | None
    intervals: np.ndarray
    latency_cycles: int
    cycles: int
    cycles_per_second: float
    output: np.ndarray


def simulate(
    folder: Path,
    frames: np.ndarray,
    expected: Mapping[str, np.ndarray],
    *,
    stalls: int | None = None,
    trace: Path | None = None,
    limit_cycles: int | None = None,
    progress: Callable[[int], None] | None = None,
    netlist: str | None = None,
) -> SimulationResult:
    """Feed ``frames`` to the accelerator in ``folder`` and compare its streams with ``expected``.

    Parameters
    ----------
    folder
        What ``emit`` wrote.
    frames
        (N, H, W, C) integers.
    expected
        For each tensor of the graph that is to be compared (N, H, W, C) integers.
    stalls
        Seed of random pauses at both ends; None: input always there, output always taken.
    trace
        Where to write a waveform (FST).
    limit_cycles
        Give up after so many; None: after many times what the slowest design can need.
    progress
        Called now and then with the number of frames that are out.
    netlist
        Verilog to simulate instead of the folder's: what synthesis made of it, and models of the cells. Streams inside are
        gone; ``expected`` can only be of the output.

    Raises
    ------
    HwgenError
        If the folder is not hwgen's, the simulation cannot be built, or the accelerator stops before all frames are out:
        the message says which streams wait and for what.
    """
    manifest = read_manifest(folder)
    tensors = manifest["tensors"]
    result = manifest["output"]["tensor"]
    unknown = sorted(set(expected) - (set(tensors) if netlist is None else {result}))
    if unknown:
        raise ValueError(f"expected must name tensors of the design, not {', '.join(unknown)}")
    shape = tuple(tensors[manifest["input"]["tensor"]]["shape"])
    if frames.ndim != 4 or not len(frames) or frames.shape[1:] != shape:
        raise ValueError(f"frames must be (N, {', '.join(map(str, shape))}), not {frames.shape}")
    for name, array in expected.items():
        if array.shape != (len(frames), *tensors[name]["shape"]):
            wanted = (len(frames), *tensors[name]["shape"])
            raise ValueError(f"expected {name} must be {wanted}, not {array.shape}")
    stream = axis(_stream(manifest["input"]["stream"]))
    raw = np.frombuffer(read_session(folder, manifest), np.uint8)
    before = unpack(raw.reshape(-1, stream.bits // 8), stream.element, stream.lanes)
    lead = len(before)
    bench, watched = _bench(folder, manifest, lead) if netlist is None else (_bare_bench(manifest, netlist, lead), {})
    source, sink = bench.sources[0], bench.sinks[0]
    if netlist is not None:
        watched = {result: sink}
    idle_limit = 20_000 + 2 * sum(stage["cycles"] for stage in manifest["stages"])
    with tempfile.TemporaryDirectory(prefix="hwgen-") as temporary:
        outcome = bench.run(
            [np.concatenate([before, frames.reshape(-1, source.stream.lanes)])],
            Path(temporary),
            frames=len(frames),
            seed=0 if stalls is None else stalls + 1,
            idle_limit=idle_limit,
            limit=8 * idle_limit * (len(frames) + 1) if limit_cycles is None else limit_cycles,
            trace=trace,
            progress=progress,
        )
        _check_flow(bench, outcome, len(frames), idle_limit)
        counts = {name: _compare(outcome, watched[name], expected[name]) for name in tensors if name in expected}
        first = next((_first(outcome, watched[n], n, tensors[n], expected[n]) for n, c in counts.items() if c), None)
        output = outcome.words(sink, 0, len(frames) * sink.stream.words)
    out = outcome.last_out[sink.name]
    intervals = np.diff(out)
    return SimulationResult(
        frames=len(frames),
        elements_compared=sum(expected[name].size for name in counts),
        mismatches=sum(counts.values()),
        by_tensor=counts,
        first_mismatch=first,
        interval_cycles=int(intervals[-1]) if len(intervals) else None,
        intervals=intervals,
        latency_cycles=int(out[0] - outcome.first_in[source.name][0]),
        cycles=outcome.cycles,
        cycles_per_second=outcome.cycles / outcome.seconds,
        output=output.reshape(len(frames), *tensors[result]["shape"]),
    )


def _bench(folder: Path, manifest: dict[str, Any], lead: int = 0) -> tuple[Bench, dict[str, Channel]]:
    """The bench of an emitted design, and the channel on which each tensor travels."""
    name = manifest["name"]
    text = read_verilog(folder, name)
    probes = {
        link["wires"]: Channel(
            name=f"{link['wires']}_probe",
            stream=_stream(link["stream"]),
            payload=f"{link['wires']}__payload",
            valid=f"{link['wires']}__valid",
            ready=f"{link['wires']}__ready",
            lead=0 if link["source"] else lead,
        )
        for link in manifest["links"]
    }
    watched = {tensor: probes[entry["wires"]] for tensor, entry in manifest["tensors"].items()}
    stored = {channel.name for channel in watched.values()}
    bench = replace(
        _bare_bench(manifest, text, lead),
        probes=tuple(c for c in probes.values() if c.name in stored),
        seen=tuple(c for c in probes.values() if c.name not in stored),
    )
    return bench, watched


def _bare_bench(manifest: dict[str, Any], verilog: str, lead: int) -> Bench:
    """The bench that sees the ports alone; ``lead`` words come before frames."""
    ends = []
    for side, prefix in (("input", "s_axis"), ("output", "m_axis")):
        stream = axis(_stream(manifest[side]["stream"]))
        data, valid, ready = (f"{prefix}_t{role}" for role in ("data", "valid", "ready"))
        ends.append(Channel(name=prefix, stream=stream, payload=data, valid=valid, ready=ready))
    return Bench(name=manifest["name"], verilog=verilog, sources=(replace(ends[0], lead=lead),), sinks=(ends[1],))


def _stream(entry: dict[str, Any]) -> Stream:
    return Stream(element=IntType(entry["bits"], entry["signed"]), lanes=entry["lanes"], words=entry["words"])


def _check_flow(bench: Bench, outcome: Outcome, frames: int, idle_limit: int) -> None:
    """Raise ``HwgenError`` if words are missing or surplus, or a stream broke the handshake's rules."""
    if outcome.violated:
        raise HwgenError(f"a word was withdrawn or changed before it was taken: {', '.join(outcome.violated)}")
    every = (*bench.sources, *bench.probes, *bench.sinks)
    short = [c for c in every if outcome.counts[c.name] < c.lead + frames * c.stream.words]
    if not outcome.complete or short:
        why = "it was stopped" if outcome.cycles and not outcome.stuck else f"nothing moved for {idle_limit} cycles"
        held = [name for name, (valid, ready) in outcome.state.items() if valid and not ready]
        lines = [f"  {c.name}: {outcome.counts[c.name]} of {c.lead + frames * c.stream.words} words" for c in short]
        raise HwgenError(
            f"the accelerator did not finish {frames} frames: after {outcome.cycles} cycles {why}\n"
            + "\n".join(lines)
            + f"\nstreams with a word that nobody takes: {', '.join(held) or 'none'}"
        )
    # Inside, padding of the frame that would come next may be under way already; nothing may leave.
    early = dict.fromkeys((c.name for c in bench.probes), 1)
    surplus = [c.name for c in every if outcome.counts[c.name] > c.lead + (frames + early.get(c.name, 0)) * c.stream.words]
    if surplus:
        raise HwgenError(f"more words than {frames} frames have came out of {', '.join(surplus)}")


def _portions(channel: Channel, expected: np.ndarray) -> Any:
    words = expected.reshape(-1, channel.stream.lanes)
    step = max(1, _SHARE // channel.stream.lanes)
    return ((start, words[start : start + step]) for start in range(0, len(words), step))


def _compare(outcome: Outcome, channel: Channel, expected: np.ndarray) -> int:
    return sum(
        int(np.count_nonzero(outcome.words(channel, start, start + len(words)) != words))
        for start, words in _portions(channel, expected)
    )


def _first(outcome: Outcome, channel: Channel, name: str, entry: dict[str, Any], expected: np.ndarray) -> Mismatch:
    for start, words in _portions(channel, expected):
        got = outcome.words(channel, start, start + len(words))
        places = np.flatnonzero(got != words)
        if len(places):
            place = int(places[0])
            frame, *index = (int(i) for i in np.unravel_index(start * channel.stream.lanes + place, expected.shape))
            return Mismatch(
                tensor=name,
                aliases=tuple(alias["name"] for alias in entry["aliases"]),
                frame=frame,
                index=(index[0], index[1], index[2]),
                expected=int(words.flat[place]),
                got=int(got.flat[place]),
            )
    raise ValueError(f"{name} must differ somewhere")
