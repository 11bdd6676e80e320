"""The pipeline, written out: check, build, simulate."""

import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx

from . import simulation
from .board import Board, board_of, load_board
from .choosing import Choice, Progress, choose, choose_again, silent
from .errors import HwgenError
from .expected import expected_tensors
from .frontend import explain, import_model, load_onnx
from .frontend.calibration import load_samples, quantize_float
from .graph import Graph
from .hardware.emit import emit
from .hardware.placeholders import differing_module
from .hardware.verilog import KEYWORDS
from .ilp.unroll import Objective
from .inputs import VECTOR_FRAMES, host_outputs, load_frames, random_frames
from .oracle import cpu_features, saturates
from .output import MODEL, OutputFolder, read_manifest, read_verilog
from .overlay.parts import engine_part, host_part
from .overlay.shape import Wish
from .overlay.timing import MemoryTiming
from .overlay_flow import build_overlay, compare_inside, overlay_latency, simulate_overlay
from .report import report
from .results import BuildResult, CheckResult, LayerRow, OperatorRow, OverlayBuildResult, OverlaySimulateResult, SimulateResult

__all__ = ["build", "check", "dataflow_unless_overlay", "expected_tensors", "simulate"]


def read(model: Path, calibration: Path | None) -> onnx.ModelProto:
    """The model of a file, quantised with the samples in ``calibration`` if given."""
    loaded = load_onnx(model)
    return loaded if calibration is None else quantize_float(loaded, load_samples(calibration))


def read_graph(model: onnx.ModelProto, path: Path) -> Graph:
    """The graph of ``model``, named after its file: a Verilog identifier."""
    name = re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_")
    plain = name and not name[0].isdigit() and name not in KEYWORDS
    return replace(import_model(model), name=name if plain else f"net_{name}".rstrip("_"))


def check(
    model: Path,
    board: str,
    *,
    calibration: Path | None = None,
    objective: Objective = "throughput",
    target_fps: float | None = None,
    dsp_only: bool = False,
) -> CheckResult:
    """What becomes of each operator, whether the network fits the board, and how fast it would be.

    Parameters
    ----------
    dsp_only
        Make no multipliers of LUTs.
    """
    target = load_board(board)
    loaded = read(model, calibration)
    rows = tuple(OperatorRow(**vars(r)) for r in explain(loaded))
    supported = all(r.status != "unsupported" for r in rows)
    answer = CheckResult(board=target.name, clock_mhz=target.clock_mhz, nodes=rows, supported=supported, fits=False)
    if not supported:
        return replace(answer, reason="some operators are not supported")
    graph = read_graph(loaded, model)
    try:
        choice = choose(graph, target, objective, target_fps, dsp_only=dsp_only)
    except HwgenError as error:
        return replace(answer, reason=str(error))
    return replace(answer, fits=True, predicted_fps=target.clock_mhz * 1e6 / choice.timing.interval)


def build(
    model: Path,
    board: str | None,
    folder: Path | None = None,
    *,
    style: str = "dataflow",
    objective: Objective = "throughput",
    target_fps: float | None = None,
    dsp_only: bool = False,
    retrainable: bool = False,
    like: Path | None = None,
    calibration: Path | None = None,
    wish: Wish | None = None,
    progress: Progress | None = None,
) -> BuildResult | OverlayBuildResult:
    """Choose the hardware and write Verilog, vectors, manifest and report into ``folder`` (default ``rtl_out/NAME``).

    Parameters
    ----------
    board
        Name or file; None with ``like``.
    style
        ``auto``: dataflow where it fits, unless latency is the objective and an overlay's is less.
    dsp_only
        Make no multipliers of LUTs.
    retrainable
        Hardware that takes other weights, scales and zero points, all of them in block memories.
    like
        Folder of an earlier, retrainable build of the same network with other weights: its hardware is used, and where its
        bitstream has been made, :func:`hwgen.bitstream` takes seconds.
    wish
        What is given of an overlay's engine.
    """
    if style not in ("dataflow", "overlay", "auto"):
        raise ValueError(f"style must be dataflow, overlay or auto, not {style!r}")
    if style == "overlay" and (dsp_only or retrainable or like or target_fps is not None or objective != "throughput"):
        raise HwgenError("--objective, --target-fps, --dsp-only, --retrainable and --like are for --style dataflow")
    if style != "overlay" and wish is not None and wish != Wish():
        raise HwgenError("--array, --multipliers, --lanes, --scratchpad, --axi-width and --on-chip are for --style overlay")
    if style == "auto" and (retrainable or like):
        raise HwgenError("--retrainable and --like are for --style dataflow")
    tell = progress or silent
    earlier = None
    if like is not None:
        earlier = read_manifest(like)
        if not earlier.get("retrainable"):
            raise HwgenError(
                f"{like} was not built with --retrainable, its logic depends on its weights: build it again so, or use --board"
            )
        target, board_file = board_of(like), like / earlier["board"]
    elif board is not None:
        target, board_file = load_board(board), Path(board)
    else:
        raise ValueError("board must be given unless like is")
    tell("reading the model", 0.0)
    loaded = read(model, calibration)
    graph = read_graph(loaded, model)
    folder = folder or Path("rtl_out") / graph.name
    choice: Choice | None = None
    if style == "auto":
        choice = dataflow_unless_overlay(graph, target, objective, target_fps, dsp_only, tell)
    if style == "overlay" or (style == "auto" and choice is None):
        return build_overlay(graph, loaded, target, board_file, folder, wish or Wish(), tell)
    with OutputFolder(folder) as fresh:
        if earlier is not None:
            choice = choose_again(replace(graph, name=earlier["name"]), target, earlier, tell)
        elif choice is None:
            choice = choose(graph, target, objective, target_fps, tell, dsp_only=dsp_only, retrainable=retrainable)
        result = _result(choice, target, folder)
        tell("test vectors", 0.0)
        frames = random_frames(graph, VECTOR_FRAMES)
        expected, _ = expected_tensors(graph, loaded, frames)
        vectors = {"inputs": frames.hardware, **expected}
        tell("writing Verilog", 0.0)
        emit(
            choice.design,
            fresh,
            board=board_file.name,
            choice={"retrainable": retrainable or earlier is not None} | choice.to_manifest(),
            figures={
                "interval_cycles": choice.timing.interval,
                "latency_cycles": choice.timing.latency,
                "resources": asdict(choice.resources),
            },
            vectors={name: _narrow(array) for name, array in vectors.items()},
        )
        if like is not None:
            _check_same_hardware(fresh, like, choice.design.name)
        (fresh / "report.md").write_text(report(result, choice.design, choice.timing.bottleneck, target))
        if board_file.suffix == ".toml":
            shutil.copy(board_file, fresh)
        (fresh / MODEL).write_bytes(loaded.SerializeToString(deterministic=True))
        tell("writing Verilog", 1.0)
    return result


def dataflow_unless_overlay(
    graph: Graph,
    board: Board,
    objective: Objective,
    target_fps: float | None = None,
    dsp_only: bool = False,
    tell: Progress = silent,
) -> Choice | None:
    """The dataflow accelerator; None where an overlay suits better.

    That is where no dataflow accelerator fits and an overlay has all operators, or where latency is asked for and the
    overlay's is less.
    """
    try:
        choice = choose(graph, board, objective, target_fps, tell, dsp_only=dsp_only)
    except HwgenError as refused:
        try:
            overlay_latency(graph, board, tell)
        except HwgenError as error:
            raise HwgenError(f"dataflow: {refused}; overlay: {error}") from None
        return None
    if objective != "latency" or target_fps is not None:
        return choice
    try:
        return choice if choice.timing.latency <= overlay_latency(graph, board, tell) else None
    except HwgenError:
        return choice


def _check_same_hardware(fresh: Path, like: Path, name: str) -> None:
    """``HwgenError`` unless both builds differ in the contents of block memories only."""
    module = differing_module(*(read_verilog(folder, name) for folder in (fresh, like)))
    if module:
        raise HwgenError(f"{module} of {like} can't be used for the new network: what differs lies in its logic; build it anew")


def _narrow(array: np.ndarray) -> np.ndarray:
    """The same integers in the smallest type that holds them."""
    return array.astype(np.result_type(np.min_scalar_type(array.min()), np.min_scalar_type(array.max())))


def _result(choice: Choice, board: Board, folder: Path) -> BuildResult:
    layers = []
    for op, candidate in zip(choice.operators, choice.candidates, strict=True):
        u = candidate.unrolling
        shown = {"rows": u.rows, "lanes": u.lanes, "packing": u.packing, "PEs": u.pe if op.macs else 1}
        in_luts = [f"{u.soft} multiplier{'s' if u.soft > 1 else ''} of LUTs"] if u.soft else []
        layers.append(
            LayerRow(
                name=op.node.name,
                templates=" + ".join(type(b.params).__name__.removesuffix("Params") for b in candidate.blocks),
                unrolling=", ".join([*(f"{n} {what}" for what, n in shown.items() if n > 1), *in_luts]),
                macs=op.macs,
                cycles=candidate.option.cycles,
                multipliers=op.multipliers(u),
                resources=candidate.option.resources,
            )
        )
    return BuildResult(
        style="dataflow",
        board=board.name,
        clock_mhz=board.clock_mhz,
        folder=str(folder),
        macs=sum(row.macs for row in layers),
        multipliers=sum(row.multipliers for row in layers),
        interval_cycles=choice.timing.interval,
        latency_cycles=choice.timing.latency,
        resources=choice.resources,
        limits=board.limits,
        objective=choice.solution.value,
        bound=choice.solution.bound,
        proven=choice.solution.proven,
        layers=tuple(layers),
    )


def simulate(
    folder: Path,
    inputs: Path | None = None,
    *,
    limit: int | None = None,
    stalls: bool | int = False,
    trace: Path | None = None,
    memory: MemoryTiming | None = None,
    progress: Progress | None = None,
) -> SimulateResult | OverlaySimulateResult:
    """Simulate the Verilog in ``folder`` and compare every QuantizeLinear output with ONNX Runtime's.

    Parameters
    ----------
    inputs
        File with an array ``inputs``; None: the random frames stored with the build.
    stalls
        Random pauses at both ends; a number is their seed.
    memory
        When an overlay's external memory answers; with ``stalls`` it is silent at random. Not where that is on chip.
    """
    tell = progress or silent
    manifest = read_manifest(folder)
    on_chip = manifest.get("on_chip")
    if manifest.get("style") == "overlay" and not on_chip:
        if trace is not None:
            raise HwgenError("--trace is for --style dataflow and for --on-chip")
        model = import_model(load_onnx(folder / MODEL))
        frames = (random_frames(model, VECTOR_FRAMES) if inputs is None else load_frames(inputs, model)).limited(limit)
        timing = memory or MemoryTiming()
        if stalls is not False:
            timing = replace(timing, silent=timing.silent or 1, period=timing.period or 4, seed=int(stalls))
        return simulate_overlay(folder, manifest, frames, timing, tell)
    if memory is not None:
        raise HwgenError("--memory-latency and --memory-pause are for --style overlay without --on-chip")
    figures = manifest["figures"]
    loaded = load_onnx(folder / MODEL)
    graph = import_model(loaded)
    frames = (random_frames(graph, VECTOR_FRAMES) if inputs is None else load_frames(inputs, graph)).limited(limit)
    expected, compared = expected_tensors(graph, loaded, frames, lambda share: tell("ONNX Runtime", share))
    tell("building the simulator", 0.0)
    run = simulation.simulate(
        folder,
        frames.hardware,
        {name: tensor for name, tensor in expected.items() if name in manifest["tensors"]},
        stalls=None if stalls is False else int(stalls),
        trace=trace,
        progress=lambda done: tell("simulating", done / len(frames)),
    )
    mismatches, first = run.mismatches, str(run.first_mismatch or "")
    outputs = run.output
    if manifest.get("host"):
        outputs = host_part(engine_part(graph)[1], graph, run.output)[graph.output]
    if on_chip:
        wrong, which = compare_inside(graph, manifest, frames, expected)
        mismatches, first = mismatches + wrong, which or first
    return SimulateResult(
        frames=run.frames,
        elements_compared=compared,
        mismatches=mismatches,
        interval_cycles=run.interval_cycles,
        latency_cycles=run.latency_cycles,
        predicted_interval_cycles=figures["interval_cycles"],
        predicted_latency_cycles=figures["latency_cycles"],
        cycles_per_second=run.cycles_per_second,
        first_mismatch=f"{first}{_doubt()}" if first else "",
        stalls=stalls is not False,
        outputs=host_outputs(graph, outputs),
    )


def _doubt() -> str:
    """A remark on this CPU where its ONNX Runtime is no reference; empty elsewhere."""
    if not saturates():
        return ""
    return f" (ONNX Runtime's 8-bit sums saturate on this CPU, {cpu_features()}: compare on one with VNNI)"
