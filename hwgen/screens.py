"""What the command line shows: results as tables and text."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .board import Board
from .cost import Resources
from .results import (
    AsicResult,
    BitstreamResult,
    BuildResult,
    CheckResult,
    ExploreResult,
    OverlayBuildResult,
    OverlaySimulateResult,
    ProjectResult,
    RunResult,
    ScheduleResult,
    SimulateResult,
)

__all__ = [
    "bitstream_screen",
    "boards_screen",
    "build_screen",
    "check_screen",
    "digits_screen",
    "explore_screen",
    "run_screen",
    "schedule_screen",
    "serve_screen",
    "simulate_screen",
    "wide",
]

_STATUS = {"supported": "green", "rewritten": "yellow", "unsupported": "red"}


def wide(*, stderr: bool = False) -> Console:
    """A console that cuts no table when its output goes to a file or a pipe."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = 160
    return console


def boards_screen(boards: Sequence[Board]) -> RenderableType:
    """A row for each board: what it offers, and what hwgen makes for it."""
    table = _table("board", "device", "MHz>", "LUT>", "FF>", "DSP>", "block RAM>", "hwgen makes")
    for b in boards:
        made = f"bitstream, by yosys and nextpnr ({b.flow})" if b.makes == "bitstream" else b.makes
        r = b.budget
        table.add_row(
            b.name, b.device, f"{b.clock_mhz:g}", *_counts(r.lut, r.ff, r.dsp), f"{r.bram:,} × {b.bram_kbit} kbit", made
        )
    return table


def check_screen(result: CheckResult) -> RenderableType:
    """A row for each operator, then the verdict."""
    table = _table("node", "operator", "", "becomes, or why not", "what to do")
    for n in result.nodes:
        color = _STATUS.get(n.status, "")
        table.add_row(escape(n.name), escape(n.op_type), Text(n.status, color), escape(n.detail), escape(n.advice))
    if not result.supported:
        count = sum(n.status == "unsupported" for n in result.nodes)
        verdict = _verdict(False, f"not supported: {count} of {len(result.nodes)} operators")
    elif not result.fits:
        verdict = _verdict(False, result.reason)
    else:
        fps = f"{result.predicted_fps:,.0f} frames/s at {result.clock_mhz:g} MHz" if result.predicted_fps else ""
        verdict = _verdict(True, f"fits {result.board}: {fps}")
    return Group(table, verdict)


def overlay_screen(result: OverlayBuildResult) -> RenderableType:
    """A row for each layer, then the whole."""
    table = _table("up to layer", "MACs>", "cycles>", "at least>")
    for row in result.layers:
        table.add_row(escape(row.name), *_counts(row.macs, row.cycles, -(-row.macs // result.multipliers)))
    least = -(-result.macs // result.multipliers)
    lines = _table("", "")
    lines.show_header = False
    lines.add_row("engine", f"{result.rows} × {result.columns} multipliers, {_plural(result.lanes, 'lane')}")
    lines.add_row("memory", f"scratchpad of {_kib(result.scratchpad)}, bus of {8 * result.bus} bits")
    lines.add_row("chosen", result.chosen)
    lines.add_row("frame", f"{result.macs:,} MACs on {result.multipliers:,} multipliers: at least {least:,} cycles")
    micros, share = result.latency_cycles / result.clock_mhz, least / result.latency_cycles
    busy = f"multipliers {share:.0%} busy"
    lines.add_row("latency", f"{result.latency_cycles:,} cycles = {micros:,.1f} µs at {result.clock_mhz:g} MHz, {busy}")
    lines.add_row("external", f"{result.external_bytes:,} bytes for each frame")
    lines.add_row("written to", escape(result.folder))
    return Group(table, lines)


def build_screen(result: BuildResult | OverlayBuildResult) -> RenderableType:
    """A row for each layer, then the whole."""
    if isinstance(result, OverlayBuildResult):
        return overlay_screen(result)
    table = _table("layer", "templates", "unrolling", "MACs>", "cycles>", "multipliers>", "busy>", "block RAM>", "LUT>")
    for row in result.layers:
        busy = f"{100 * row.cycles / result.interval_cycles:.0f} %"
        counts = _counts(row.macs, row.cycles, row.multipliers)
        table.add_row(
            escape(row.name), row.templates, row.unrolling, *counts, busy, *_counts(row.resources.bram, row.resources.lut)
        )
    least = -(-result.macs // max(1, result.multipliers))
    quality = "proven optimal" if result.proven else f"not proven optimal: bound {result.bound:g}"
    lines = _table("", "")
    lines.show_header = False
    lines.add_row("frame", f"{result.macs:,} MACs on {result.multipliers:,} multipliers: at least {least:,} cycles")
    share = least / result.interval_cycles
    lines.add_row("interval", f"{result.interval_cycles:,} cycles = {result.fps:,.0f} frames/s, multipliers {share:.0%} busy")
    micros = result.latency_cycles / result.clock_mhz
    lines.add_row("latency", f"{result.latency_cycles:,} cycles = {micros:,.1f} µs at {result.clock_mhz:g} MHz")
    lines.add_row("objective", f"{result.objective:g}, {quality}")
    lines.add_row("resources", _usage(result.resources, result.limits))
    lines.add_row("written to", escape(result.folder))
    return Group(table, lines)


def bitstream_screen(result: BitstreamResult | ProjectResult | AsicResult) -> RenderableType:
    """The clock, its critical path, resources beside the prediction; of a project where it is; of an ASIC the area."""
    if isinstance(result, AsicResult):
        return _area(result)
    lines = _table("", "")
    lines.show_header = False
    if isinstance(result, ProjectResult):
        lines.add_row("clock", f"{result.clock_mhz:g} MHz asked for")
        lines.add_row("written to", escape(f"{result.project}: README.md there has the command for the vendor's tool"))
    else:
        reached = f"place-and-route reached {result.fmax_mhz:g} MHz with seed {result.seed}"
        lines.add_row("clock", f"{result.clock_mhz:g} MHz, and {reached}")
        lines.add_row("frames/s", f"{result.fps:,.1f}")
        stages = (f"{p.stage} ({p.template})" if p.template else p.stage for p in result.critical_path)
        path = " → ".join(f"{stage} {p.ns:g} ns" for stage, p in zip(stages, result.critical_path, strict=True))
        lines.add_row("critical path", escape(path))
        lines.add_row("written to", escape(result.bitstream))
    table = _table("resource", "synthesised>", "predicted>")
    for f, label in zip(fields(Resources), ("LUT", "FF", "DSP", "block RAM"), strict=True):
        table.add_row(label, f"{getattr(result.resources, f.name):,}", f"{getattr(result.predicted, f.name):,}")
    return Group(lines, table)


def _area(result: AsicResult) -> RenderableType:
    lines = _table("", "")
    lines.show_header = False
    lines.add_row("cells", f"{result.gates:,} gates, {result.flip_flops:,} flip-flops")
    if result.nand2 is not None:
        lines.add_row("area", f"{result.nand2:,.0f} NAND2 equivalents, without memories")
    if result.area is not None:
        lines.add_row("area", f"{result.area:,.1f} in the Liberty file's unit, without memories")
    lines.add_row("memories", f"{result.ram_bits:,} bits that are written, {result.rom_bits:,} that are only read")
    lines.add_row("written to", escape(result.netlist))
    return lines


def simulate_screen(result: SimulateResult | OverlaySimulateResult) -> RenderableType:
    """The verdict, then simulated cycles beside predicted ones."""
    what = f"{result.elements_compared:,} integers of {_plural(result.frames, 'frame')} compared with ONNX Runtime"
    if result.mismatches:
        verdict = _verdict(False, f"{what}: {result.mismatches:,} differ; the first: {result.first_mismatch}")
    else:
        verdict = _verdict(True, f"{what}: all equal")
    table = _table("cycles", "simulated>", "predicted>")
    if isinstance(result, SimulateResult):
        interval = "-" if result.interval_cycles is None else f"{result.interval_cycles:,}"
        table.add_row("interval", interval, f"{result.predicted_interval_cycles:,}")
    table.add_row("latency", f"{result.latency_cycles:,}", f"{result.predicted_latency_cycles:,}")
    note = "; with stalls, so slower than predicted" if result.stalls else ""
    return Group(verdict, table, Text(f"simulated at {result.cycles_per_second:,.0f} cycles/s{note}"))


def serve_screen(folder: Path, port: str) -> RenderableType:
    """Where the simulated board is, and what to do with it."""
    return Text(f"{port}\nCtrl-C ends it; in another terminal: hwgen run {folder} --port {port} --inputs X.npz")


def run_screen(result: RunResult) -> RenderableType:
    """The first frames' outputs, then the figures of the transfer."""
    lines = _table("", "")
    lines.show_header = False
    for k, output in enumerate(result.outputs[:4]):
        numbers = output.reshape(-1)
        more = ", ..." if len(numbers) > 12 else ""
        lines.add_row(f"frame {k}", ", ".join(f"{x:.6g}" for x in numbers[:12].tolist()) + more)
    lines.add_row("frames", f"{result.frames:,} in {result.seconds:.2f} s = {result.frames / result.seconds:,.1f} frames/s")
    if result.resent_bytes or result.damaged_packets or result.sessions:
        again = f"{result.resent_bytes:,} bytes sent again, {result.damaged_packets:,} damaged packets received"
        lines.add_row("line", f"{again}, begun anew {_times(result.sessions)}")
    return lines


def schedule_screen(result: ScheduleResult) -> RenderableType:
    """What moves, then a row for each tensor that leaves the scratchpad and comes back."""
    lines = _table("", "")
    lines.show_header = False
    lines.add_row("network", f"{escape(result.network)}: {_plural(result.operators, 'operator')}")
    lines.add_row("scratchpad", f"{_kib(result.scratchpad_bytes)}; the largest operator needs {_kib(result.largest_bytes)}")
    lines.add_row("compulsory", f"{result.compulsory_bytes:,} bytes")
    quality = "proven optimal" if result.proven else f"not proven optimal: bound {result.bound:,}"
    lines.add_row("beyond that", f"{result.external_bytes:,} bytes, {quality}, in {result.seconds:.1f} s")
    saved = f": {1 - result.external_bytes / result.baseline_bytes:.0%} saved" if result.baseline_bytes else ""
    lines.add_row("without solver", f"{result.baseline_bytes:,} bytes{saved}")
    if not result.dropped:
        return lines
    table = _table("leaves", "bytes>", "", "after", "comes back before")
    for row in result.dropped:
        how = "written" if row.written else "copy outside"
        table.add_row(escape(row.name), f"{row.size:,}", how, escape(row.after), escape(row.before))
    return Group(lines, "", table)


def explore_screen(result: ExploreResult) -> RenderableType:
    """A row for one engine, two equal ones and two of any kind, then which takes the fewest cycles."""
    table = _table("", "engines", "cycles>", "busy>", "bound>", "", "seconds>")
    for row in result.rows:
        engines = ", ".join(f"{e.rows} × {e.columns} {e.dataflow} stationary" for e in row.engines)
        quality = "proven" if row.proven else "not proven"
        cycles, bound = _counts(row.makespan_cycles, row.bound)
        table.add_row(row.name, engines, cycles, f"{row.utilisation:.1%}", bound, quality, f"{row.seconds:.1f}")
    one, *others = result.rows
    best = min(others, key=lambda row: row.makespan_cycles)
    less = 1 - best.makespan_cycles / one.makespan_cycles
    networks = ", ".join(map(escape, result.networks))
    verdict = (
        f"{best.name}: {less:.1%} fewer cycles than one engine" if less > 0 else "no two engines take fewer cycles than one"
    )
    return Group(table, Text(f"{result.macs:,} MACs of {networks} on {result.multipliers:,} multipliers; {verdict}"))


def digits_screen(images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, *, columns: int = 4) -> Text:
    """``images`` (frames, 8, 8) of 0..1 side by side in characters, what they are below; the wrong ones first."""
    order = np.argsort(labels == predicted, kind="stable")[:columns]
    shades = np.array(list(" .:-=+*#%@"))
    text = Text(no_wrap=True)
    for line in range(8):
        for k in order:
            pixels = shades[np.rint(images[k, line] * 9).astype(int)]
            text.append("".join(np.repeat(pixels, 2)) + "  ")
        text.append("\n")
    for k in order:
        right = labels[k] == predicted[k]
        note = f"{predicted[k]}" if right else f"{predicted[k]}, label {labels[k]}"
        text.append(note.center(16) + "  ", "green" if right else "red")
    return text


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for c in columns:
        table.add_column(c.rstrip(">"), justify="right" if c.endswith(">") else "left")
    return table


def _verdict(good: bool, message: str) -> Text:
    return Text.assemble(("ok  " if good else "no  ", "bold green" if good else "bold red"), message)


def _counts(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{n:,}" if n else "" for n in numbers)


def _kib(n: int) -> str:
    return f"{n / 1024:,.1f} KiB"


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _usage(used: Resources, limits: Resources) -> str:
    labels = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "block RAM"}
    parts = []
    for f in fields(Resources):
        n, limit = getattr(used, f.name), getattr(limits, f.name)
        parts.append(f"{n:,} {labels[f.name]} ({n / limit:.0%})" if limit else f"{n:,} {labels[f.name]}")
    return ", ".join(parts)
