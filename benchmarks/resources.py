"""What the cost models predict against what yosys makes, for the ECP5.

``python -m benchmarks.resources [--dsp-only] [--stages] [NETWORK ...]``: whole networks, built for ulx3s-85f.
``python -m benchmarks.resources --sweep [TEMPLATE ...]``: random stages of each template, into resources.csv.

How it is counted: the Verilog with placeholders in its block memories (:mod:`hwgen.hardware.placeholders`) goes through
``synth_ecp5 -noabc9`` and the changes of the netlist that ``hwgen bitstream`` makes
(:meth:`hwgen.hardware.devices.ecp5.Ecp5.improve`). LUT = LUT4 + 2 · CCU2C + 3 · TRELLIS_DPR16X4 (multiplexers behind LUTs,
PFUMX and L6MUX21, are free), FF = TRELLIS_FF, DSP = MULT18X18D, block RAM = DP16KD + PDPW16KD. For whole networks the netlist
is flat; with ``--stages``, and in sweeps, each stage is synthesised for itself.
"""

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.resource_points import MAKERS, points
from hwgen.board import load_board
from hwgen.choosing import choose
from hwgen.cost import Resources
from hwgen.flow import read_graph
from hwgen.frontend import load_onnx
from hwgen.hardware.devices.ecp5 import Ecp5
from hwgen.hardware.emit import verilog
from hwgen.hardware.placeholders import with_placeholders
from hwgen.hardware.tools import run_tool
from hwgen.hardware.verilog import convert
from hwgen.mapping.design import Stage
from tests.shared_models import MODELS

__all__ = ["RECORD", "describe", "measure", "measure_stages"]

BOARD = "ulx3s-85f"
FILES = {n: f"{n}/{n}_int8_qdq_nchw.onnx" for n in ("kws", "ic", "vww", "ad")} | {
    "digits": "digits/digits_cnn_int8_qdq_sym_perch.onnx"
}
NAMES = [f.name for f in fields(Resources)]
RECORD = Path(__file__).with_suffix(".csv")
DEVICE = Ecp5("ECP5", "LFE5U-85F", "BG381", "6")


def measure(text: str, top: str, kept: Iterable[str] = ()) -> dict[str, Resources]:
    """What yosys makes of a Verilog text: the resources of ``top``, without its modules ``kept``, and those of each of these.

    Parameters
    ----------
    kept
        Modules that are synthesised for themselves, used by the top or not.
    """
    kept = list(kept)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "design.v").write_text(with_placeholders(text)[0])
        script = ["read_verilog design.v"]
        if kept:
            script.append(f"setattr -mod -set keep_hierarchy 1 -set keep 1 {' '.join(kept)}")
        script.append(f"{DEVICE.synthesis} -top {top} -json design.json")
        (folder / "script.ys").write_text("\n".join(script) + "\n")
        run_tool("yosys", ["-q", "-s", "script.ys"], folder, folder / "log")
        modules = json.loads((folder / "design.json").read_text())["modules"]
    for name in (top, *kept):
        DEVICE.improve(modules[name])
    return {name: DEVICE.resources(modules[name]) for name in (top, *kept)}


def measure_stages(stages: Iterable[Stage]) -> list[tuple[Stage, Resources]]:
    """What yosys makes of each of these stages, in one run."""
    stages = list(stages)
    texts = [convert(stage.create(), stage.name) for stage in stages]
    instances = "\n".join(f"  {stage.name} u{k} ();" for k, stage in enumerate(stages))
    text = "\n".join([*texts, f"module all_stages ();\n{instances}\nendmodule\n"])
    measured = measure(text, "all_stages", [stage.name for stage in stages])
    return [(stage, measured[stage.name]) for stage in stages]


def error(predicted: int, measured: int) -> str:
    """In per cent of what was measured."""
    return f"{100 * (predicted - measured) / measured:+.1f} %" if measured else ("" if predicted == 0 else "!")


def cells(predicted: Resources, measured: Resources) -> list[str]:
    """Of a row: what was predicted, what was measured, how far that is apart."""
    pairs = zip(astuple(predicted), astuple(measured), strict=True)
    return [text for p, m in pairs for text in (f"{p:,}", f"{m:,}", error(p, m))]


def table(*first: str) -> Table:
    return Table(*first, *(text for name in NAMES for text in (name.upper(), "yosys", "")))


def template(params: Any) -> str:
    return type(params).__name__.removesuffix("Params")


def describe(params: Any) -> str:
    """Parameters as text."""
    return "; ".join(f"{f.name}={getattr(params, f.name)}" for f in fields(params))


def network(name: str, *, dsp_only: bool, stages: bool) -> Iterable[tuple[list[str], Resources, Resources]]:
    """Rows: the whole network, or its stages, their top and their sum; each with what is predicted and measured."""
    path = MODELS / FILES[name]
    choice = choose(read_graph(load_onnx(path), path), load_board(BOARD), "throughput", None, dsp_only=dsp_only)
    label = f"{name}, DSPs only" if dsp_only else name
    design, text = choice.design, verilog(choice.design)
    if not stages:
        yield [label, ""], choice.resources, measure(text, design.name)[design.name]
        return
    measured = measure(text, design.name, [f"{design.name}_{s.name}" for s in design.stages])
    for stage in design.stages:
        where = [f"{label}: {stage.name}", template(stage.params)]
        yield where, stage.params.cost().resources, measured[f"{design.name}_{stage.name}"]
    yield [f"{label}: top", ""], Resources(), measured[design.name]
    yield [f"{label}: all", ""], choice.resources, sum(measured.values(), Resources())


def networks(names: list[str], *, dsp_only: bool, stages: bool) -> None:
    shown, templates = table("design", "template"), table("template")
    totals: dict[str, tuple[Resources, Resources]] = {}
    for name in names or FILES:
        start = time.time()
        for first, predicted, measured in network(name, dsp_only=dsp_only, stages=stages):
            shown.add_row(*first, *cells(predicted, measured))
            if first[1]:
                so_far = totals.get(first[1], (Resources(), Resources()))
                totals[first[1]] = (so_far[0] + predicted, so_far[1] + measured)
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    for first_cell, (predicted, measured) in sorted(totals.items()):
        templates.add_row(first_cell, *cells(predicted, measured))
    console = Console(width=180)
    console.print(shown)
    if totals:
        console.print(templates)


def sweep(names: list[str]) -> None:
    """Measure random stages of each template, and record them."""
    shown = table("template")
    for name in names or MAKERS:
        start = time.time()
        measured = measure_stages(points(name))
        record(name, measured)
        predicted = sum((s.params.cost().resources for s, _ in measured), Resources())
        shown.add_row(f"{name} × {len(measured)}", *cells(predicted, sum((m for _, m in measured), Resources())))
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    Console(width=180).print(shown)


def record(name: str, measured: list[tuple[Stage, Resources]]) -> None:
    """Replace the template's rows of the file."""
    rows = []
    if RECORD.exists():
        with RECORD.open() as file:
            rows = [row for row in csv.reader(file) if row[0] not in (name, "template")]
    for stage, resources in measured:
        rows.append([name, describe(stage.params), *map(str, astuple(resources))])
    order = list(MAKERS)
    with RECORD.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["template", "params", *NAMES], *sorted(rows, key=lambda row: order.index(row[0]))])


def main(arguments: list[str]) -> None:
    names = [a for a in arguments if not a.startswith("--")]
    if "--sweep" in arguments:
        sweep(names)
    else:
        networks(names, dsp_only="--dsp-only" in arguments, stages="--stages" in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
