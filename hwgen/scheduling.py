"""From an ONNX file to a schedule on a scratchpad memory."""

import time
from itertools import pairwise
from pathlib import Path

from .errors import HwgenError
from .frontend import read_onnx
from .frontend.footprint import Footprint, footprint
from .ilp.scratchpad import InfeasibleError, Problem, Schedule, best_fit, solve
from .results import DroppedTensor, ScheduleResult

__all__ = ["schedule"]

SECONDS = 20  #: deterministic time limit of the solver


def schedule(
    model: Path,
    scratchpad: float,
    *,
    weights: bool = False,
    bits: int = 8,
    reorder: bool = False,
) -> ScheduleResult:
    """When each operator of ``model`` runs, what lies in the scratchpad meanwhile and what has to be moved out of it and back.

    Works on any ONNX network by its shapes alone, quantised or not; a symbolic batch is taken as 1.

    Parameters
    ----------
    scratchpad
        Its size in KiB.
    weights
        Whether the weights have to be in it, too.
    bits
        Of each element.
    reorder
        Whether operators may run in another order than the file's.

    Raises
    ------
    HwgenError
        Not an ONNX file; a shape that isn't known beforehand; an operator that needs more than the scratchpad.
    """
    if not 0 < scratchpad < float("inf"):
        raise ValueError(f"scratchpad must be positive, not {scratchpad}")
    loaded = read_onnx(Path(model))
    start = time.monotonic()
    try:
        network = footprint(loaded, bits=bits, weights=weights)
    except HwgenError as error:
        raise HwgenError(f"{model}: {error}") from None
    problem = network.problem(max(1, int(scratchpad * 1024)), reorder=reorder)
    try:
        found = solve(problem, SECONDS)
    except InfeasibleError as error:
        name, needed = network.operator_names[error.operator], -(-error.needed // 512) / 2
        raise HwgenError(
            f"{model}: operator {name} needs {needed:.9g} KiB for its inputs and outputs, more than the scratchpad's "
            f"{scratchpad:.9g} KiB; choose a scratchpad of {needed:.9g} KiB or more" + (", or no --weights" if weights else "")
        ) from None
    return ScheduleResult(
        network=Path(model).stem,
        operators=len(problem.operators),
        scratchpad_bytes=problem.budget,
        largest_bytes=max(problem.working_set(number) for number in problem.program_order),
        external_bytes=found.external_bytes,
        compulsory_bytes=problem.compulsory_bytes,
        baseline_bytes=best_fit(problem).external_bytes,
        bound=found.bound,
        proven=found.proven,
        seconds=time.monotonic() - start,
        dropped=_dropped(network, problem, found),
    )


def _dropped(network: Footprint, problem: Problem, found: Schedule) -> tuple[DroppedTensor, ...]:
    """What leaves the scratchpad and comes back, in the order of leaving."""
    rows = []
    written: set[int] = set()
    stays = sorted(found.stays, key=lambda stay: (stay.tensor, stay.start))
    for stay, following in pairwise(stays):
        t = stay.tensor
        if following.tensor == t:
            row = DroppedTensor(
                name=network.tensor_names[t],
                size=problem.tensors[t].size,
                after=network.operator_names[found.order[stay.end - 1]],
                before=network.operator_names[found.order[following.start]],
                written=t not in written and not problem.has_copy(t),
            )
            rows.append((stay.end, t, row))
            written.add(t)
    return tuple(row for *_, row in sorted(rows, key=lambda entry: entry[:2]))
