"""The pipeline, written out: check, build, simulate."""

import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from . import simulation
from .board import Board, load_board
from .cost import Resources
from .errors import HwgenError
from .frontend import explain, import_model, load_onnx, reference_model
from .frontend.calibration import load_samples, quantize_float
from .graph import Graph
from .hardware.emit import emit
from .hardware.verilog import KEYWORDS
from .ilp.unroll import InfeasibleError, Objective, Problem, Solution, solve
from .ilp.unroll import check as check_solution
from .inputs import Frames, host_outputs, load_frames, random_frames
from .mapping.candidates import Candidate, candidates, edges, operators, swapped
from .mapping.design import Design
from .mapping.operators import Operator
from .mapping.plan import plan
from .oracle import Oracle, cpu_features, saturates
from .output import MODEL, OutputFolder, read_manifest
from .report import report
from .results import BuildResult, CheckResult, LayerRow, OperatorRow, SimulateResult
from .timing import Timing, predict

__all__ = ["Choice", "build", "check", "choose", "expected_tensors", "simulate"]

Progress = Callable[[str, float], None]  #: told the name of a step and the share of it that is done
VECTOR_FRAMES = 3  #: random frames stored with a build
LONGEST = 1 << 26  #: words of a stream in a frame: what prediction can hold in memory
SOFT_LUTS = 90  #: of a multiplier with its share of an adder tree, at least: bounds how many are considered
ROUNDS = 4  #: times the budget is lowered for what FIFOs and converters take


def silent(step: str, share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A design and how it was chosen.

    Parameters
    ----------
    resources
        Of all stages, in LUT4 and the board's block RAMs.
    """

    design: Design
    operators: tuple[Operator, ...]
    candidates: tuple[Candidate, ...]
    solution: Solution
    timing: Timing
    resources: Resources


def read(model: Path, calibration: Path | None) -> onnx.ModelProto:
    """The model of a file, quantised with the samples in ``calibration`` if given."""
    loaded = load_onnx(model)
    return loaded if calibration is None else quantize_float(loaded, load_samples(calibration))


def read_graph(model: onnx.ModelProto, path: Path) -> Graph:
    """The graph of ``model``, named after its file: a Verilog identifier."""
    name = re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_")
    plain = name and not name[0].isdigit() and name not in KEYWORDS
    return replace(import_model(model), name=name if plain else f"net_{name}".rstrip("_"))


def choose(
    graph: Graph,
    board: Board,
    objective: Objective,
    target_fps: float | None,
    progress: Progress = silent,
    *,
    dsp_only: bool = False,
) -> Choice:
    """The best design for ``graph`` on ``board``; ``HwgenError`` where none fits.

    Parameters
    ----------
    dsp_only
        Make no multipliers of LUTs.
    """
    ops = operators(graph, lambda share: progress("exact arithmetic", share))
    budget = board.for_layers
    multipliers = budget.dsp + (0 if dsp_only else budget.lut // SOFT_LUTS)
    options = candidates(ops, multipliers, soft=not dsp_only, memories=board.memories)
    if not all(options):
        raise HwgenError(f"the network needs more than the {multipliers} multipliers of {board.name}; choose a larger board")
    problem = Problem(
        options=tuple(tuple(c.option for c in row) for row in options),
        edges=edges(graph, ops),
        budget=budget,
        objective="area" if target_fps is not None else objective,
        interval=None if target_fps is None else int(board.clock_mhz * 1e6 / target_fps),
    )
    bound = None
    for _ in range(ROUNDS):
        progress("choosing unrollings", 0.0)
        try:
            solution = solve(problem)
        except InfeasibleError as error:
            raise HwgenError(explain_infeasible(error, problem, board, target_fps)) from None
        check_solution(problem, solution)
        if bound is None:
            bound = solution.bound  # a lower budget's would not be one for the board
        solution = replace(solution, bound=bound, proven=solution.value == bound)
        picked = zip(ops, options, solution.choice, solution.soft, strict=True)
        chosen = tuple(swapped(op, row[k], soft) for op, row, k, soft in picked)
        _check_length(ops, chosen, board)
        design = plan(graph, tuple(c.blocks for c in chosen))
        resources = sum((s.params.cost(board.memories).resources for s in design.stages), Resources())
        over = _over(resources, board.limits)
        if not any(over.values()):
            return Choice(
                design=design, operators=ops, candidates=chosen, solution=solution, timing=predict(design), resources=resources
            )
        lower = {name: getattr(problem.budget, name) - amount for name, amount in over.items()}
        problem = replace(problem, budget=Resources(**lower))
    raise HwgenError(f"the network does not fit {board.name}: {_shortage(over, board.limits)}; choose a larger board")


def _check_length(ops: tuple[Operator, ...], chosen: tuple[Candidate, ...], board: Board) -> None:
    """``HwgenError`` where a frame would take so long that nobody could predict or simulate it."""
    for op, candidate in zip(ops, chosen, strict=True):
        words = max(s.words for b in candidate.blocks for s in (*b.params.inputs, *b.params.outputs))
        if words > LONGEST:
            raise HwgenError(
                f"the network is too large for {board.name}: {op.node.name} would take {words} cycles a frame or more, "
                f"and {LONGEST} are the limit; choose a larger board or a smaller network"
            )


def _over(used: Resources, budget: Resources) -> dict[str, int]:
    return {name: max(0, getattr(used, name) - getattr(budget, name)) for name in ("lut", "ff", "dsp", "bram")}


def _shortage(over: dict[str, int], budget: Resources) -> str:
    return ", ".join(
        f"{n} needs {getattr(budget, n) + more}, available {getattr(budget, n)}" for n, more in over.items() if more
    )


def explain_infeasible(error: InfeasibleError, problem: Problem, board: Board, target_fps: float | None) -> str:
    """Which resource, needed, available, what would help."""
    if target_fps is not None and problem.interval is not None and error.fastest > problem.interval:
        reachable = board.clock_mhz * 1e6 / error.fastest
        return (
            f"{target_fps:g} frames per second are out of reach on {board.name}: the slowest layer allows {reachable:.1f} "
            f"({error.fastest} cycles at {board.clock_mhz:g} MHz); lower --target-fps or choose a board with more multipliers"
        )
    if not error.shortages:
        return f"the network does not fit {board.name}: no combination of unrollings meets all budgets; choose a larger board"
    taken = {
        s.resource: getattr(board.for_layers, s.resource) - s.available for s in error.shortages
    }  # by FIFOs and converters
    needs = "; ".join(
        f"{s.resource}: at least {s.needed + taken[s.resource]} needed, {s.available + taken[s.resource]} available"
        for s in error.shortages
    )
    helps = "choose a larger board, a smaller network" + (" or a lower --target-fps" if target_fps is not None else "")
    return f"the network does not fit {board.name}: {needs}; {helps}"


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
    board: str,
    folder: Path | None = None,
    *,
    style: str = "dataflow",
    objective: Objective = "throughput",
    target_fps: float | None = None,
    dsp_only: bool = False,
    calibration: Path | None = None,
    progress: Progress | None = None,
) -> BuildResult:
    """Choose the hardware and write Verilog, vectors, manifest and report into ``folder`` (default ``rtl_out/NAME``).

    Parameters
    ----------
    dsp_only
        Make no multipliers of LUTs.
    """
    if style not in ("dataflow", "overlay", "auto"):
        raise ValueError(f"style must be dataflow, overlay or auto, not {style!r}")
    if style == "overlay":
        raise HwgenError("--style overlay is not there yet; use --style dataflow")
    tell = progress or silent
    target = load_board(board)
    tell("reading the model", 0.0)
    loaded = read(model, calibration)
    graph = read_graph(loaded, model)
    folder = folder or Path("rtl_out") / graph.name
    with OutputFolder(folder) as fresh:
        choice = choose(graph, target, objective, target_fps, tell, dsp_only=dsp_only)
        result = _result(choice, target, folder)
        tell("test vectors", 0.0)
        frames = random_frames(graph, VECTOR_FRAMES)
        expected, _ = expected_tensors(graph, loaded, frames)
        vectors = {"inputs": frames.hardware, **expected}
        tell("writing Verilog", 0.0)
        emit(
            choice.design,
            fresh,
            board=Path(board).name,
            figures={
                "interval_cycles": choice.timing.interval,
                "latency_cycles": choice.timing.latency,
                "resources": asdict(choice.resources),
            },
            vectors={name: _narrow(array) for name, array in vectors.items()},
        )
        (fresh / "report.md").write_text(report(result, choice.design, choice.timing.bottleneck, target))
        if board.endswith(".toml"):
            shutil.copy(board, fresh)
        (fresh / MODEL).write_bytes(loaded.SerializeToString(deterministic=True))
        tell("writing Verilog", 1.0)
    return result


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
    progress: Progress | None = None,
) -> SimulateResult:
    """Simulate the Verilog in ``folder`` and compare every QuantizeLinear output with ONNX Runtime's.

    Parameters
    ----------
    inputs
        File with an array ``inputs``; None: the random frames stored with the build.
    stalls
        Random pauses at both ends; a number is their seed.
    """
    tell = progress or silent
    figures = read_manifest(folder)["figures"]
    loaded = load_onnx(folder / MODEL)
    graph = import_model(loaded)
    frames = (random_frames(graph, VECTOR_FRAMES) if inputs is None else load_frames(inputs, graph)).limited(limit)
    expected, compared = expected_tensors(graph, loaded, frames, lambda share: tell("ONNX Runtime", share))
    tell("building the simulator", 0.0)
    run = simulation.simulate(
        folder,
        frames.hardware,
        expected,
        stalls=None if stalls is False else int(stalls),
        trace=trace,
        progress=lambda done: tell("simulating", done / len(frames)),
    )
    return SimulateResult(
        frames=run.frames,
        elements_compared=compared,
        mismatches=run.mismatches,
        interval_cycles=run.interval_cycles,
        latency_cycles=run.latency_cycles,
        predicted_interval_cycles=figures["interval_cycles"],
        predicted_latency_cycles=figures["latency_cycles"],
        cycles_per_second=run.cycles_per_second,
        first_mismatch=f"{run.first_mismatch}{_doubt()}" if run.first_mismatch else "",
        stalls=stalls is not False,
        outputs=host_outputs(graph, run.output),
    )


def _doubt() -> str:
    """A remark on this CPU where its ONNX Runtime is no reference; empty elsewhere."""
    if not saturates():
        return ""
    return f" (ONNX Runtime's 8-bit sums saturate on this CPU, {cpu_features()}: compare on one with VNNI)"


def expected_tensors(
    graph: Graph, model: onnx.ModelProto, frames: Frames, progress: Callable[[float], None] = lambda share: None
) -> tuple[dict[str, np.ndarray], int]:
    """ONNX Runtime's numbers for each tensor that has an alias, (N, H, W, C); and how many elements all aliases have.

    ``HwgenError`` where two aliases of one tensor differ: the import would be at fault.
    """
    tensors = {t.name: t for t in graph.tensors.values() if t.aliases}
    names = [alias.name for t in tensors.values() for alias in t.aliases]
    oracle = Oracle(reference_model(model))
    runs = []
    for k in range(len(frames)):
        runs.append(oracle.run(frames.model[k : k + 1], names))
        progress((k + 1) / len(frames))
    expected: dict[str, np.ndarray] = {}
    compared = 0
    for name, tensor in tensors.items():
        for alias in tensor.aliases:
            array = np.concatenate([run[alias.name] for run in runs]).astype(np.int64)
            found = alias.layout.from_onnx(array, tensor.shape)
            compared += found.size
            if not (found == expected.setdefault(name, found)).all():
                raise HwgenError(f"{alias.name} must equal {tensor.aliases[0].name} in ONNX Runtime, and does not")
    return expected, compared
