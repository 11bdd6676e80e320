"""Build a network into a folder and simulate it against ONNX Runtime; shared by tests and benchmarks."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from hwgen.board import Board
from hwgen.choosing import Choice, choose, choose_again
from hwgen.flow import expected_tensors
from hwgen.frontend import import_model
from hwgen.graph import Graph
from hwgen.hardware.emit import emit
from hwgen.inputs import make_frames
from hwgen.output import OutputFolder, read_manifest
from hwgen.simulation import SimulationResult, simulate

__all__ = ["Built", "build_network", "random_board", "random_objective", "run", "warm_intervals"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """An emitted network with the frames to try it on."""

    graph: Graph
    choice: Choice
    folder: Path
    inputs: np.ndarray
    expected: dict[str, np.ndarray]


def random_board(rng: np.random.Generator, board: Board) -> Board:
    """The same board with a random number of DSPs, few as a rule, and look-up tables for some multipliers more."""
    dsp = int(2 ** rng.uniform(3, 8))
    return replace(board, budget=replace(board.budget, dsp=dsp, lut=20_000 + 100 * dsp))


def random_objective(rng: np.random.Generator) -> str:
    """What to optimise, throughput as a rule."""
    return str(rng.choice(["throughput", "latency", "area"], p=[0.6, 0.2, 0.2]))


def build_network(
    model: onnx.ModelProto,
    frames: np.ndarray,
    board: Board,
    folder: Path,
    objective: str = "throughput",
    *,
    retrainable: bool = False,
    like: Path | None = None,
) -> Built:
    """Choose, emit into ``folder``, and ask ONNX Runtime for every tensor."""
    graph = replace(import_model(model), name="net")
    if like is None:
        choice = choose(graph, board, objective, None, retrainable=retrainable)
    else:
        choice = choose_again(graph, board, read_manifest(like))
    with OutputFolder(folder) as fresh:
        emit(choice.design, fresh, board=board.name, choice={"retrainable": retrainable} | choice.to_manifest())
    given = make_frames(graph, frames)
    expected, _ = expected_tensors(graph, model, given)
    return Built(graph=graph, choice=choice, folder=folder, inputs=given.hardware, expected=expected)


def warm_intervals(built: Built, result: SimulationResult, predicted: int) -> list[int]:
    """The last two intervals of ``result``; of a longer run where they are below ``predicted``.

    A branch with a little less to do and a longer way can set the pace until the others' lead is used up.
    """
    measured: list[int] = result.intervals[-2:].tolist()
    if measured and min(measured) < predicted:
        inputs = np.tile(built.inputs, (16,) + (1,) * (built.inputs.ndim - 1))
        measured = simulate(built.folder, inputs, {}).intervals[-2:].tolist()
    return measured


def run(built: Built, stalls: int | None = None) -> SimulationResult:
    """Simulate; ``AssertionError`` on any difference in numbers, or without stalls in the predicted cycles."""
    result = simulate(built.folder, built.inputs, built.expected, stalls=stalls)
    assert result.mismatches == 0, str(result.first_mismatch)
    timing = built.choice.timing
    if stalls is None:
        measured = warm_intervals(built, result, timing.interval)
        assert measured == [timing.interval] * len(measured), (
            f"interval {measured}, predicted {timing.interval} ({timing.bottleneck})"
        )
        # Small networks with branches: a full buffer may hold up the first frame in ways the prediction does not see.
        assert 0.95 * timing.latency - 5 <= result.latency_cycles <= 1.25 * timing.latency + 5, (
            f"latency {result.latency_cycles}, predicted {timing.latency}"
        )
    return result
