"""Write a design as files: Verilog, lint waivers, manifest, test vectors."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..graph import Layout, QuantType, Tensor
from ..mapping.design import Design, Link
from ..output import FORMAT, MANIFEST, MARKER
from ..streams import Stream
from .top import Top, check_design, wires
from .verilog import check_name, convert

__all__ = ["VECTORS", "emit", "manifest", "type_entry", "verilog"]

VECTORS = "vectors.npz"

WAIVERS = {
    "DECLFILENAME": "one file holds all modules",
    "UNUSEDSIGNAL": "Amaranth names every member of a stream, also those that nothing reads",
    "WIDTHEXPAND": "constants and sums are written in their own width and extended as IEEE 1364 says",
    "WIDTHTRUNC": "sums grow by a bit and are cut on assignment: Amaranth's meaning",
    "CASEOVERLAP": "one-hot selections are written as casez with one bit for each item",
    "PROCASSINIT": "registers have initial values, which FPGA configuration sets, and a reset",
}


def verilog(design: Design) -> str:
    """The design as Verilog-2005, top module ``design.name``. The same design gives the same text, byte for byte."""
    check_name("design name", design.name)
    check_design(design)
    header = f"""\
// {design.name}: a neural network accelerator made by hwgen. Do not edit: build it again.
// Ports: AXI4-Stream in (s_axis_*) and out (m_axis_*); one clock (clk), synchronous reset, active high (rst).
// In: {_words(design.input)}. Out: {_words(design.output)}.

"""
    streams = (wires(design, link.source) for link in design.links)
    keep = {f"{stream}__{role}" for stream in streams for role in ("payload", "valid", "ready")}
    return header + convert(Top(design), design.name, keep=keep)


def _words(stream: Stream) -> str:
    return f"{stream.words} words a frame of {stream.lanes} {stream.element}, each in {-(-stream.element.bits // 8)} byte(s)"


def manifest(
    design: Design,
    *,
    board: str = "",
    figures: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What ``design.json`` says: all that a program needs to know of the folder, in JSON's types."""
    graph = design.graph
    return {
        MARKER: FORMAT,
        "name": design.name,
        "board": board,
        "figures": dict(figures or {}),
        **(choice or {}),
        "input": {"tensor": graph.input, "stream": _stream(design.input)} | _host(graph.host_input),
        "output": {"tensor": graph.output, "stream": _stream(design.output)} | _host(graph.host_output),
        "stages": [
            {
                "name": stage.name,
                "node": stage.node,
                "template": type(stage.params).__name__.removesuffix("Params"),
                "params": dataclasses.asdict(stage.params),  # type: ignore[call-overload]
                "cycles": stage.params.cost().cycles,
            }
            for stage in design.stages
        ],
        "links": [_link(design, link) for link in design.links],
        "tensors": {
            name: _tensor(graph.tensors[name]) | {"wires": wires(design, port), "stream": _stream(design.stream(port))}
            for name, port in design.carriers.items()
        },
    }


def _stream(stream: Stream) -> dict[str, Any]:
    return {"bits": stream.element.bits, "signed": stream.element.signed, "lanes": stream.lanes, "words": stream.words}


def _link(design: Design, link: Link) -> dict[str, Any]:
    def end(stage: str, ports: str, index: int) -> str:
        return f"{stage}.{getattr(design.stage(stage), ports)[index]}" if stage else ""

    source = end(link.source.stage, "o_ports", link.source.index)
    sink = end(link.sink.stage, "i_ports", link.sink.index)
    return {"source": source, "sink": sink, "wires": wires(design, link.source), "stream": _stream(design.stream(link.source))}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "shape": tensor.shape,
        "type": type_entry(tensor.type),
        "aliases": [{"name": alias.name} | _layout(alias.layout) for alias in tensor.aliases],
    }


def type_entry(type: QuantType) -> dict[str, Any]:
    """What a manifest says of a tensor's type."""
    return {"integer": str(type.integer), "scale": type.scale, "zero_point": type.zero_point}


def _layout(layout: Layout) -> dict[str, Any]:
    return {"axes": layout.axes, "shape": layout.shape}


def _host(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype} | _layout(tensor.layout)


def emit(
    design: Design,
    folder: Path,
    *,
    board: str = "",
    figures: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
    vectors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write ``NAME.v``, ``NAME.vlt`` (Verilator waivers), ``design.json`` and ``vectors.npz`` into ``folder``.

    Parameters
    ----------
    folder
        There already; from :class:`hwgen.output.OutputFolder`, so that all files appear at once.
    figures
        Predictions to write into the manifest, by name.
    choice
        How the hardware was chosen, for the manifest.
    vectors
        Test vectors: integer arrays by name; none written if absent.

    Raises
    ------
    ValueError
        If the design's name or a stage's cannot be a Verilog identifier, or links join different streams.
    OSError
        If the disk refuses.
    """
    (folder / f"{design.name}.v").write_text(verilog(design))
    (folder / f"{design.name}.vlt").write_text(_waivers(design.name))
    text = json.dumps(manifest(design, board=board, figures=figures, choice=choice), indent=1, default=_number)
    (folder / MANIFEST).write_text(text + "\n")
    if vectors is not None:
        np.savez_compressed(folder / VECTORS, **dict(vectors))  # type: ignore[arg-type]


def _waivers(name: str) -> str:
    rules = "".join(f'// {reason}\nlint_off -rule {rule} -file "*{name}.v"\n' for rule, reason in WAIVERS.items())
    return f"`verilator_config\n{rules}"


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a manifest must hold plain numbers and text, not {value!r}")
