"""The overlay's pipeline: an engine for the board, a program for the network; simulated, each layer compared."""

import json
import shutil
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .board import Board
from .choosing import Progress, silent
from .cost import Resources
from .errors import HwgenError
from .expected import expected_tensors
from .frontend import import_model, load_onnx
from .graph import Graph
from .hardware.emit import emit, type_entry
from .inputs import VECTOR_FRAMES, Frames, host_outputs, random_frames
from .output import FORMAT, MANIFEST, MARKER, MODEL, OutputFolder
from .overlay.candidates import BUSES
from .overlay.clock import predict
from .overlay.compiled import Compiled, data_bytes, engine_hash, image_of, layers
from .overlay.driver_notes import driver_notes
from .overlay.engine import Engine
from .overlay.isa import WORD, disassemble
from .overlay.lower import compile_graph
from .overlay.machine import Machine
from .overlay.on_chip import ON_CHIP, on_chip
from .overlay.parts import engine_part, host_part
from .overlay.pictures import draw
from .overlay.resources import engine_resources
from .overlay.shape import Choice, Wish, engine_for
from .overlay.simulation import NAME, verilog
from .overlay.simulation import simulate as run_program
from .overlay.small.design import SEQUENTIAL, check_weights, program_bytes, sequential
from .overlay.soc_top import SOC_NAME, design_id, soc_verilog
from .overlay.timing import MemoryTiming
from .results import OverlayBuildResult, OverlayLayer, OverlaySimulateResult
from .timing import predict as predict_design

__all__ = ["build_overlay", "buses", "compare_inside", "engine_part", "overlay_latency", "simulate_overlay"]

IMAGE = "image.bin"  #: external memory with the program
USUAL = MemoryTiming()
FILL = 0.8  #: share of look-up tables and flip-flops that place-and-route still gets along with


def build_overlay(
    graph: Graph, model: onnx.ModelProto, board: Board, board_file: Path, folder: Path, wish: Wish, tell: Progress
) -> OverlayBuildResult:
    """Choose an engine, compile the network for it, write Verilog, the image of external memory, manifest and report."""
    head, tail = engine_part(graph)
    memory = ON_CHIP if wish.on_chip else USUAL
    choice, compiled = _chosen(head, wish, board, memory, tell)
    engine = choice.engine
    result = _result(head, compiled, board, folder, memory, choice)
    streams = wish.on_chip or engine.sequential
    about: dict[str, Any] = {"style": "overlay", "on_chip": streams}
    about |= {"engine": asdict(engine), "engine_hash": engine_hash(engine)}
    with OutputFolder(folder) as fresh:
        if streams:
            if engine.sequential:
                design, image = sequential(head, compiled)
                (fresh / IMAGE).write_bytes(image)
                about["session"] = {"file": IMAGE, "bytes": len(image), "crc32": zlib.crc32(image)}
                about["host"] = [node.name for node in tail.nodes] if tail else []
            else:
                design = on_chip(graph, head, tail, compiled)
            timing = predict_design(design)
            result = replace(result, interval_cycles=timing.interval, latency_cycles=timing.latency)
            resources = design.resources(board.memories)
            tell("test vectors", 0.0)
            frames = random_frames(graph, VECTOR_FRAMES)
            expected, _ = expected_tensors(graph, model, frames)
            tell("writing Verilog", 0.0)
            emit(
                design,
                fresh,
                board=board_file.name,
                choice=about,
                figures={
                    "latency_cycles": timing.latency,
                    "interval_cycles": timing.interval,
                    "resources": asdict(resources),
                },
                vectors={"inputs": frames.hardware, **expected},
            )
        else:
            tell("writing Verilog", 0.0)
            (fresh / f"{NAME}.v").write_text(verilog(engine))
            image, program = image_of(compiled.program, compiled.external)
            (fresh / IMAGE).write_bytes(image)
            manifest = {
                MARKER: FORMAT,
                "name": graph.name,
                "board": board_file.name,
                **about,
                "module": NAME,
                "design_id": design_id(engine).hex(),
                "image": {
                    "crc32": zlib.crc32(image),
                    "bytes": len(image),
                    "program": program,
                    "instructions": len(compiled.program),
                },
                "input": {"tensor": head.input},
                "output": {"tensor": head.output, "host": [node.name for node in tail.nodes] if tail else []},
                "regions": {
                    name: asdict(region) | {"type": type_entry(head.tensors[name].type)}
                    for name, region in compiled.regions.items()
                },
                "figures": {
                    "latency_cycles": result.latency_cycles,
                    "external_bytes": result.external_bytes,
                    "resources": asdict(engine_resources(engine, board.memories)),
                },
            }
            (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
            if board.flow == "verilog":
                (fresh / f"{SOC_NAME}.v").write_text(soc_verilog(engine))
                (fresh / "README.md").write_text(driver_notes(manifest))
        (fresh / "program.txt").write_text(disassemble(compiled.program))
        draw(head, compiled, memory, fresh)
        (fresh / "report.md").write_text(_report(graph.name, result))
        if board_file.suffix == ".toml":
            shutil.copy(board_file, fresh)
        (fresh / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        tell("writing Verilog", 1.0)
    return result


def overlay_latency(graph: Graph, board: Board, tell: Progress = silent) -> int:
    """Cycles of a frame on the engine that :func:`build_overlay` would choose; ``HwgenError`` where it can't do all of it."""
    head, _ = engine_part(graph)
    choice, compiled = _chosen(head, Wish(), board, USUAL, tell)
    if choice.engine.sequential:
        sequential(head, compiled)  # says whether there is room for it
    return _cycles(compiled, USUAL)[-1]


def _chosen(head: Graph, wish: Wish, board: Board, memory: MemoryTiming, tell: Progress) -> tuple[Choice, Compiled]:
    """The engine, on a board with SPRAM the one that keeps everything there, else one made for the network; the program."""
    if not board.spram:
        tell("choosing the engine", 0.0)
        choice = engine_for(head, wish, _budget(board, wish), board.memories, memory=memory, buses=buses(board, wish))
        tell("compiling", 0.0)
        return choice, compile_graph(head, choice.engine, memory=memory)
    if wish != Wish():
        raise HwgenError(
            f"--array, --multipliers, --lanes, --scratchpad, --axi-width and --on-chip choose among engines, and for "
            f"{board.name} there is one: leave them out"
        )
    check_weights(head)
    tell("compiling", 0.0)
    compiled = compile_graph(head, SEQUENTIAL)
    cycles = _cycles(compiled, memory)[-1]
    return Choice(engine=SEQUENTIAL, modelled=cycles, objective=cycles, bound=cycles, proven=True), compiled


def _budget(board: Board, wish: Wish) -> Resources:
    """What an engine may take: not all logic, unless its size is given."""
    there = board.limits
    if wish.array or wish.multipliers:
        return there
    return replace(there, lut=int(there.lut * FILL), ff=int(there.ff * FILL))


def buses(board: Board, wish: Wish) -> tuple[int, ...]:
    """Bytes of the buses to choose from: none wider than the board's memory, but for the narrowest that an engine has."""
    if wish.on_chip or board.memory is None:
        return BUSES
    return tuple(bus for bus in BUSES if 8 * bus <= board.memory.bits) or BUSES[:1]


def simulate_overlay(
    folder: Path, manifest: dict[str, Any], frames: Frames, memory: MemoryTiming, tell: Progress
) -> OverlaySimulateResult:
    """Run the program in ``folder``, and the same with every tensor written to external memory; compare all with ONNX Runtime.

    ``HwgenError`` where the program is not for this engine, or damaged.
    """
    graph = import_model(load_onnx(folder / MODEL))
    head, tail = engine_part(graph)
    engine = Engine(**manifest["engine"])
    compiled = compile_graph(head, engine)
    _check_image(folder, manifest, engine, compiled)
    observing = compile_graph(head, engine, observe=True)
    expected, compared = expected_tensors(graph, load_onnx(folder / MODEL), frames, lambda share: tell("ONNX Runtime", share))
    tell("building the simulator", 0.0)
    outputs, mismatches, first = [], 0, ""
    cycles, external_bytes, started, simulated = 0, 0, time.monotonic(), 0
    for k, frame in enumerate(frames.hardware):
        for program in (compiled, observing):
            image = program.external.copy()
            program.regions[graph.input].write(image, frame)
            run = run_program(engine, program.program, image, memory)
            simulated += run.cycles
            made = {name: region.read(run.external) for name, region in program.regions.items() if name != graph.input}
            if program is compiled:
                cycles, external_bytes = run.cycles, run.bytes_read + run.bytes_written
                made |= {name: t[0] for name, t in host_part(tail, graph, made[head.output][None]).items()}
                outputs.append(made[graph.output])
            for name in [name for name in made if name in expected]:
                wrong, which = _differing(name, k, made[name], expected[name][k])
                mismatches, first = mismatches + wrong, first or which
        tell("simulating", (k + 1) / len(frames))
    return OverlaySimulateResult(
        frames=len(frames), elements_compared=compared, mismatches=mismatches, latency_cycles=cycles,
        predicted_latency_cycles=_cycles(compiled, memory)[-1], external_bytes=external_bytes,
        cycles_per_second=simulated / (time.monotonic() - started), first_mismatch=first, stalls=memory.seed != 0,
        outputs=host_outputs(graph, np.stack(outputs)),
    )  # fmt: skip


def compare_inside(
    graph: Graph, manifest: dict[str, Any], frames: Frames, expected: Mapping[str, np.ndarray]
) -> tuple[int, str]:
    """Tensors that stay inside an overlay with its memory on chip, brought out by a program with a store behind each operator.

    A sequential engine's memory has no room for these: they are those of the simulator of instructions. Returns how many
    elements differ, and which is the first.
    """
    head, tail = engine_part(graph)
    engine = Engine(**manifest["engine"])
    program = compile_graph(head, engine, observe=True, memory=ON_CHIP)
    inside = [name for name in expected if name not in manifest["tensors"]]
    mismatches, first = 0, ""
    for k, frame in enumerate(frames.hardware):
        image = program.external.copy()
        program.regions[graph.input].write(image, frame)
        if engine.sequential:
            Machine(engine, image).run(program.program)
        else:
            image = run_program(engine, program.program, image, ON_CHIP).external
        made = {name: region.read(image) for name, region in program.regions.items()}
        made |= {name: tensor[0] for name, tensor in host_part(tail, graph, made[head.output][None]).items()}
        for name in inside:
            wrong, which = _differing(name, k, made[name], expected[name][k])
            mismatches, first = mismatches + wrong, first or which
    return mismatches, first


def _differing(name: str, frame: int, made: np.ndarray, expected: np.ndarray) -> tuple[int, str]:
    """How many elements of a tensor differ, and which is the first."""
    wrong = np.argwhere(made != expected)
    if not len(wrong):
        return 0, ""
    place = tuple(wrong[0].tolist())
    return len(wrong), f"{name}, frame {frame}, element {place}: expected {expected[place]}, got {made[place]}"


def _check_image(folder: Path, manifest: dict[str, Any], engine: Engine, compiled: Compiled) -> None:
    try:
        image = (folder / IMAGE).read_bytes()
        text = (folder / f"{NAME}.v").read_text()
    except OSError as error:
        raise HwgenError(f"cannot read {error.filename}: {error.strerror}; build it again") from error
    if manifest["engine_hash"] != engine_hash(engine) or text != verilog(engine):
        raise HwgenError(f"the program of {folder} is for another engine than {NAME}.v there; build it again")
    if zlib.crc32(image) != manifest["image"]["crc32"] or image != image_of(compiled.program, compiled.external)[0]:
        raise HwgenError(f"{folder / IMAGE} is damaged: its checksum is not that of the build; build it again")


def _cycles(compiled: Compiled, memory: MemoryTiming) -> list[int]:
    ends = predict(compiled.program, compiled.engine, memory)
    return [*ends[:-1], ends[-1] + 1]  # the engine says so a cycle after the End


def _result(
    head: Graph, compiled: Compiled, board: Board, folder: Path, memory: MemoryTiming, choice: Choice
) -> OverlayBuildResult:
    engine, ends = compiled.engine, _cycles(compiled, memory)
    found = layers(head, compiled, ends)
    rows = tuple(OverlayLayer(name=row.names[-1], macs=row.macs, cycles=row.end - row.start) for row in found)
    read = program_bytes(compiled.program, engine) if engine.sequential else WORD * len(compiled.program)
    return OverlayBuildResult(
        board=board.name, clock_mhz=board.clock_mhz, folder=str(folder), rows=engine.rows, columns=engine.columns,
        lanes=engine.lanes, scratchpad=engine.scratchpad, bus=engine.bus, instructions=len(compiled.program),
        macs=sum(row.macs for row in rows), latency_cycles=ends[-1], external_bytes=data_bytes(compiled) + read, layers=rows,
        modelled=choice.modelled, objective=choice.objective, bound=choice.bound, proven=choice.proven,
        alone=engine.sequential,
    )  # fmt: skip


def _report(name: str, result: OverlayBuildResult) -> str:
    limit = -(-result.macs // result.multipliers)
    lines = [
        f"# {name}: overlay for {result.board}",
        "",
        f"{result.rows} x {result.columns} multipliers, {result.lanes} lanes, scratchpad of {result.scratchpad // 1024} KiB, "
        f"bus of {8 * result.bus} bits, {result.instructions} instructions.",
        "",
        f"Engine chosen: {result.chosen}.",
        "",
        f"Predicted: {result.latency_cycles} cycles for a frame (at least {limit} for {result.macs} MACs), "
        f"{result.external_bytes} bytes of external memory.",
        "",
        "| up to layer | MACs | cycles | at least |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row.name} | {row.macs} | {row.cycles} | {-(-row.macs // result.multipliers)} |" for row in result.layers]
    lines += [
        "",
        "## When the units work",
        "![timeline](timeline.svg)",
        "",
        "## What lies in the scratchpad",
        "A rectangle for each tensor: from its first byte to the last time it is read.",
        "",
        "![scratchpad](scratchpad.svg)",
        "",
        "## How near the limits the layers come",
        "Layers overlap: each is measured by the cycles in which a unit works for it, not from end to end as in the table.",
        "",
        "![roofline](roofline.svg)",
    ]
    return "\n".join(lines) + "\n"
