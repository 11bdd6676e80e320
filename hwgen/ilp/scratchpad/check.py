"""Replays a schedule, step by step, without a solver."""

import itertools
from collections.abc import Sequence

from .problem import Problem, Schedule, Stay

__all__ = ["check", "moved_bytes"]


def check(problem: Problem, schedule: Schedule) -> Schedule:
    """Returns ``schedule``; ``ValueError`` unless it is possible and claims what is true."""
    _check_order(problem, schedule.order)
    steps = len(schedule.order)
    stays = sorted(schedule.stays, key=lambda stay: (stay.tensor, stay.start))
    for stay in stays:
        _check_stay(problem, stay, steps)
    for one, other in itertools.pairwise(stays):
        if one.tensor == other.tensor and other.start < one.end:
            raise ValueError(f"stays of tensor {one.tensor} must not overlap: step {other.start} has two")
    _check_residency(problem, schedule)
    _check_addresses(problem, stays, steps)
    moved = moved_bytes(problem, stays)
    if moved != schedule.external_bytes:
        raise ValueError(f"external_bytes must be {moved}, not {schedule.external_bytes}")
    if schedule.bound > moved:
        raise ValueError(f"bound must be at most {moved}, not {schedule.bound}")
    if schedule.proven != (schedule.bound == moved):
        raise ValueError(f"proven must be {schedule.bound == moved}, not {schedule.proven}")
    return schedule


def moved_bytes(problem: Problem, stays: Sequence[Stay]) -> int:
    """Non-compulsory bytes: each stay but a tensor's first is a retrieval; what has no copy outside is spilled once before."""
    moved = 0
    seen: set[int] = set()
    spilled: set[int] = set()
    for stay in sorted(stays, key=lambda stay: stay.start):
        tensor, size = stay.tensor, problem.tensors[stay.tensor].size
        if tensor in seen:
            moved += size
            if tensor not in spilled and not problem.has_copy(tensor):
                moved += size
            spilled.add(tensor)
        seen.add(tensor)
    return moved


def _check_order(problem: Problem, order: tuple[int, ...]) -> None:
    if sorted(order) != list(range(len(problem.operators))):
        raise ValueError(f"order must have each of {len(problem.operators)} operators once, not be {order}")
    if not problem.reorder and order != tuple(range(len(order))):
        raise ValueError("order must be the program's unless the problem says reorder")
    made: set[int] = set()
    for number in order:
        op = problem.operators[number]
        for t in op.inputs:
            if not problem.tensors[t].external and t not in made:
                raise ValueError(f"operator {number} must run after the one that makes its input {t}")
        made.update(op.outputs)


def _check_stay(problem: Problem, stay: Stay, steps: int) -> None:
    if stay.tensor not in range(len(problem.tensors)):
        raise ValueError(f"stays must be of tensors below {len(problem.tensors)}, not {stay.tensor}")
    if not 0 <= stay.start < stay.end <= steps:
        raise ValueError(f"a stay must lie within steps 0 to {steps}, not {stay.start} to {stay.end}")
    end = stay.address + problem.tensors[stay.tensor].size
    if stay.address < 0 or end > problem.budget:
        raise ValueError(f"a stay must lie within {problem.budget} bytes, not at {stay.address} to {end}")


def _check_residency(problem: Problem, schedule: Schedule) -> None:
    there: dict[int, set[int]] = {}  # the steps of each tensor's stays
    first: dict[int, int] = {}
    for stay in schedule.stays:
        there.setdefault(stay.tensor, set()).update(range(stay.start, stay.end))
        first[stay.tensor] = min(stay.start, first.get(stay.tensor, stay.start))
    for step, number in enumerate(schedule.order):
        op = problem.operators[number]
        for t in op.tensors:
            if step not in there.get(t, ()):
                raise ValueError(f"tensor {t} must be in the scratchpad in step {step}, where operator {number} uses it")
        for t in op.outputs:
            if first[t] != step:
                raise ValueError(f"tensor {t} must first stay in step {step}, which makes it, not in {first[t]}")
    uses = problem.uses(schedule.order)
    for stay in schedule.stays:
        if not any(stay.start <= step < stay.end for step in uses[stay.tensor]):
            raise ValueError(f"a stay must serve a use, not be of tensor {stay.tensor} in steps {stay.start} to {stay.end}")


def _check_addresses(problem: Problem, stays: list[Stay], steps: int) -> None:
    by_step: list[list[Stay]] = [[] for _ in range(steps)]
    for stay in stays:
        for step in range(stay.start, stay.end):
            by_step[step].append(stay)
    for step, there in enumerate(by_step):
        there.sort(key=lambda stay: stay.address)
        for below, above in itertools.pairwise(there):
            if below.address + problem.tensors[below.tensor].size > above.address:
                raise ValueError(f"tensors {below.tensor} and {above.tensor} must not overlap in step {step}")
