"""The report of a built design, in Markdown."""

from dataclasses import asdict
from math import ceil

from .mapping.design import Design
from .results import BuildResult
from .templates.fifo import FifoParams

__all__ = ["report"]


def report(result: BuildResult, design: Design, bottleneck: str) -> str:
    """Per layer: templates, unrolling, MACs, cycles, multipliers, how busy, memory; totals beside the limit; FIFOs."""
    limit = ceil(result.macs / result.multipliers) if result.multipliers else 0
    busy = result.macs / (result.multipliers * result.interval_cycles) if result.multipliers else 0.0
    lines = [
        f"# {design.name} on {result.board}",
        "",
        "| | |",
        "|---|---:|",
        f"| initiation interval | {result.interval_cycles:,} cycles ({bottleneck}) |",
        f"| limit: MACs ÷ multipliers | {limit:,} cycles |",
        f"| latency | {result.latency_cycles:,} cycles |",
        f"| frames per second at {result.clock_mhz:g} MHz | {result.fps:,.1f} |",
        f"| MACs of a frame | {result.macs:,} |",
        f"| multipliers of the MACs | {result.multipliers} |",
        f"| of the time busy | {busy:.1%} |",
        "",
        "Resources as the cost models have them: "
        + ", ".join(f"{name} {value:,} of {getattr(result.limits, name):,}" for name, value in asdict(result.resources).items())
        + ".",
        "",
        f"Choice: objective {result.objective:,}, bound {result.bound:,}, "
        + ("proven optimal." if result.proven else "not proven: the best may lie between the two."),
        "",
        "## Layers",
        "",
        "| layer | templates | unrolling | MACs | cycles | multipliers | busy | LUT | FF | block RAM |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result.layers:
        share = f"{row.macs / (row.multipliers * result.interval_cycles):.0%}" if row.multipliers else ""
        lines.append(
            f"| {row.name} | {row.templates} | {row.unrolling} | {row.macs:,} | {row.cycles:,} | {row.multipliers or ''} | "
            f"{share} | {row.resources.lut:,} | {row.resources.ff:,} | {row.resources.bram} |"
        )
    lines += ["", "## Between the layers", ""]
    between = [s for s in design.stages if not s.node]
    if between:
        lines += ["| stage | what | words a frame | bits a word |", "|---|---|---:|---:|"]
    for stage in between:
        stream = stage.params.outputs[0]
        what = type(stage.params).__name__.removesuffix("Params")
        if isinstance(stage.params, FifoParams):
            what += f", {stage.params.depth} words deep"
        lines.append(f"| {stage.name} | {what} | {stream.words:,} | {stream.bits} |")
    lines += [
        "" if between else "Nothing: every layer takes its words as the one before gives them.",
        "FIFOs stand on the branches of forks. Each holds all that the other branches can have taken before the word it",
        "holds back is needed, so no branch ever waits for a word that the fork withholds: deadlock is impossible.",
        "",
    ]
    return "\n".join(lines)
