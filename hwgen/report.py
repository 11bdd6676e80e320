"""The report of a built design, in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import ceil

from .board import Board
from .cost import Memories
from .mapping.design import Design, Stage
from .results import BitstreamResult, BuildResult
from .templates.fifo import FifoParams

__all__ = ["bitstream_report", "report"]

NAMES = {"lut": "LUT", "ff": "FF", "dsp": "multiplier", "bram": "block RAM"}


def report(result: BuildResult, design: Design, bottleneck: str, board: Board) -> str:
    """Per layer: templates, unrolling, MACs, cycles, multipliers, how busy, memory; totals beside the limit; FIFOs."""
    limit = ceil(result.macs / result.multipliers) if result.multipliers else 0
    proof = "proven optimal" if result.proven else "not proven: the best may lie between the two"
    figures = [
        ("initiation interval", f"{result.interval_cycles:,} cycles ({bottleneck})"),
        ("limit: MACs ÷ multipliers", f"{limit:,} cycles"),
        ("latency", f"{result.latency_cycles:,} cycles"),
        (f"frames per second at {result.clock_mhz:g} MHz", f"{result.fps:,.1f}"),
        ("MACs of a frame", f"{result.macs:,}"),
        ("multipliers of the MACs", f"{result.multipliers}"),
        ("of the time busy", _busy(result.macs, result.multipliers, result.interval_cycles) or "-"),
        ("objective", f"{result.objective:,}"),
        ("bound", f"{result.bound:,} ({proof})"),
    ]
    lines = [
        f"# {design.name} on {result.board}",
        "",
        *_table(("", ""), "l:", figures),
        "Resources as the cost models have them:",
        "",
        *_table(("resource", "used", "available", "used of it"), "l:::", _resources(result)),
        "## Layers",
        "",
        *_table(
            ("layer", "templates", "unrolling", "MACs", "cycles", "multipliers", "busy", "LUT", "FF", "block RAM"),
            "lll:::::::",
            [*_layers(result), *_totals(result)],
        ),
        "Busy: MACs ÷ (multipliers · initiation interval). Weights, tables and line buffers are in block RAM "
        f"of {board.bram_kbit} kbit; what",
        "is small enough is in LUTs and counted there.",
        "",
        "## FIFOs",
        "",
        *_fifos([s for s in design.stages if not s.node], board.memories),
    ]
    return "\n".join(lines)


def bitstream_report(result: BitstreamResult) -> str:
    """The clock and its critical path, what the netlist takes beside the prediction, what of the device is used."""
    used, predicted = asdict(result.resources), asdict(result.predicted)
    rows = [
        (NAMES[k], f"{used[k]:,}", f"{n:,}", f"{100 * (n - used[k]) / used[k]:+.1f} %" if used[k] else "-")
        for k, n in predicted.items()
    ]
    lines = [
        f"# {result.bitstream.rsplit('/', 1)[-1]} for {result.board} ({result.device})",
        "",
        f"Clock: {result.clock_mhz:g} MHz; place-and-route reached {result.fmax_mhz:g} MHz with seed {result.seed}.",
        f"{result.cycles:,} cycles a frame: {result.fps:,.1f} frames per second.",
        "",
        "## Critical path",
        "",
        *_table(("stage", "template", "ns"), "ll:", [(p.stage, p.template, f"{p.ns:.2f}") for p in result.critical_path]),
        "## Resources",
        "",
        *_table(("resource", "synthesised", "predicted", "error"), "l:::", rows),
        "With the link and the board's top. A carry cell counts as the look-up tables in it.",
        "",
        "## The device",
        "",
        *_table(("cell", "used", "available"), "l::", [(n, f"{u:,}", f"{a:,}") for n, (u, a) in result.utilisation.items()]),
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """A table and an empty line; ``align``: ``:`` for each column of numbers, another character for text."""
    rules = ["---:" if a == ":" else "---" for a in align[: len(head)]]
    return [*(f"| {' | '.join(row)} |" for row in (head, rules, *rows)), ""]


def _busy(macs: int, multipliers: int, cycles: int) -> str:
    return f"{macs / (multipliers * cycles):.1%}" if multipliers else ""


def _resources(result: BuildResult) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for name, used in asdict(result.resources).items():
        limit = getattr(result.limits, name)
        rows.append((NAMES[name], f"{used:,}", f"{limit:,}", f"{used / limit:.1%}" if limit else ""))
    return rows


def _layers(result: BuildResult) -> list[Sequence[str]]:
    return [
        (
            row.name,
            row.templates,
            row.unrolling,
            f"{row.macs:,}" if row.macs else "",
            f"{row.cycles:,}",
            f"{row.multipliers}" if row.multipliers else "",
            _busy(row.macs, row.multipliers, result.interval_cycles),
            f"{row.resources.lut:,}",
            f"{row.resources.ff:,}",
            f"{row.resources.bram}",
        )
        for row in result.layers
    ]


def _totals(result: BuildResult) -> list[Sequence[str]]:
    """What the layers take together, what stands between them, and all of it."""
    layers = {name: sum(getattr(row.resources, name) for row in result.layers) for name in ("lut", "ff", "bram")}
    whole = {name: getattr(result.resources, name) for name in layers}
    between = {name: whole[name] - layers[name] for name in layers}
    busy = _busy(result.macs, result.multipliers, result.interval_cycles)
    return [
        ("between the layers", "", "", "", "", "", "", *(f"{n:,}" for n in between.values())),
        (
            "**total**",
            "",
            "",
            f"{result.macs:,}",
            f"{result.interval_cycles:,}",
            f"{result.multipliers}",
            busy,
            *(f"{n:,}" for n in whole.values()),
        ),
    ]


def _fifos(between: Sequence[Stage], memories: Memories) -> list[str]:
    """FIFOs, and what else connects layers."""
    fifos, others = [], []
    for stage in between:
        stream, cost = stage.params.outputs[0], stage.params.cost(memories).resources
        row = (stage.name, f"{stream.bits}", f"{stream.words:,}", f"{cost.lut:,}", f"{cost.ff:,}", f"{cost.bram}")
        if isinstance(stage.params, FifoParams):
            fifos.append((row[0], f"{stage.params.depth:,}", *row[1:]))
        else:
            others.append((row[0], type(stage.params).__name__.removesuffix("Params"), *row[1:]))
    lines = ["None: every layer takes its words as the one before gives them.", ""]
    if fifos:
        lines = _table(("FIFO", "words deep", "bits a word", "words a frame", "LUT", "FF", "block RAM"), "l::::::", fifos)
        lines += [
            "A FIFO on a branch of a fork holds all that the other branches can have taken before the word it holds back is",
            "needed, so no branch ever waits for a word that the fork withholds: deadlock is impossible. A cushion takes what",
            "arrives while a line buffer writes padding.",
            "",
        ]
    if others:
        lines += ["## Forks and width converters", ""]
        lines += _table(("stage", "template", "bits a word", "words a frame", "LUT", "FF", "block RAM"), "ll:::::", others)
    return lines
