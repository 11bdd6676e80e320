"""The best schedule for a given order of the operators.

First without addresses: which gaps between uses to bridge, so that every step's bytes fit and the fewest move. That is a
lower bound. Then addresses for what stays, each stay a rectangle of steps × addresses. Nearly always there are some, and the
bound is met. If not, one model decides on both: each use is a rectangle of one step, each gap an optional one that makes the
addresses on both sides equal.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ortools.sat.python import cp_model

from .baseline import best_fit, largest_first
from .placing import Run, divide_and_place, finish, runs
from .problem import Gap, Problem, Schedule
from .solving import Limit, minimise

__all__ = ["Choice", "best_gaps", "solve_fixed", "unit_of"]

SHARE = 5.0  #: deterministic seconds of one model


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which gaps are bridged, the bytes that move because of the others, and the least that any choice moves."""

    kept: frozenset[Gap]
    value: int
    bound: int


def solve_fixed(problem: Problem, order: Sequence[int], limit: Limit) -> Schedule:
    """The best schedule in which the operators run in ``order``."""
    choice = best_gaps(problem, order, limit)
    stays = runs(problem, order, choice.kept)
    addresses = _addresses(problem, stays, limit)
    if addresses is not None:
        return finish(problem, order, list(zip(stays, addresses, strict=True)), choice.bound)
    divided = finish(problem, order, divide_and_place(problem, stays), choice.bound)
    simple = (divided, best_fit(problem, order), largest_first(problem, order))
    fallback = min(simple, key=lambda schedule: schedule.external_bytes)
    fallback = replace(fallback, bound=choice.bound, proven=fallback.external_bytes == choice.bound)
    return fallback if fallback.proven else _together(problem, order, choice, fallback, limit)


def unit_of(problem: Problem) -> int:
    """All sizes are multiples of it, so that all addresses can be."""
    return math.gcd(*(t.size for t in problem.tensors)) or 1


def best_gaps(problem: Problem, order: Sequence[int], limit: Limit) -> Choice:
    """What to keep if only each step's bytes count."""
    cp = cp_model.CpModel()
    keep, cost = _gaps(cp, problem, order)
    answer = minimise(cp, cost, limit, SHARE)
    if not answer.found:
        return Choice(kept=frozenset(), value=_value(problem, order, ()), bound=0)
    kept = frozenset(gap for gap, bridged in keep.items() if answer[bridged])
    return Choice(kept=kept, value=_value(problem, order, kept), bound=answer.bound * unit_of(problem))


def _value(problem: Problem, order: Sequence[int], kept: Collection[Gap]) -> int:
    """Bytes that move if ``kept`` are bridged and the other gaps are not."""
    dropped = [gap.tensor for gap in problem.gaps(order) if gap not in kept]
    return problem.total(dropped) + problem.total([t for t in set(dropped) if not problem.has_copy(t)])


def _gaps(
    cp: cp_model.CpModel, problem: Problem, order: Sequence[int]
) -> tuple[dict[Gap, cp_model.IntVar], cp_model.LinearExprT]:
    """For each gap whether it is bridged, such that every step's bytes fit; and what the others cost, in units."""
    unit = unit_of(problem)
    keep: dict[Gap, cp_model.IntVar] = {}
    spilled: dict[int, cp_model.IntVar] = {}
    held: list[list[tuple[cp_model.IntVar, int]]] = [[] for _ in order]
    cost: list[cp_model.LinearExprT] = []
    for gap in problem.gaps(order):
        size = problem.tensors[gap.tensor].size // unit
        bridged = keep[gap] = cp.new_bool_var("")
        for step in gap.inside:
            held[step].append((bridged, size))
        cost.append((1 - bridged) * size)
        if not problem.has_copy(gap.tensor):
            if gap.tensor not in spilled:
                spilled[gap.tensor] = cp.new_bool_var("")
                cost.append(spilled[gap.tensor] * size)
            cp.add_implication(~bridged, spilled[gap.tensor])
    for step, number in enumerate(order):
        room = (problem.budget - problem.working_set(number)) // unit
        if sum(size for _, size in held[step]) > room:
            cp.add(cp_model.LinearExpr.sum([bridged * size for bridged, size in held[step]]) <= room)
    return keep, cp_model.LinearExpr.sum(cost)


def _addresses(problem: Problem, stays: Sequence[Run], limit: Limit) -> list[int] | None:
    """An address for each stay; None where there are none, or none were found in time."""
    cp, unit = cp_model.CpModel(), unit_of(problem)
    addresses, times, places = [], [], []
    for stay in stays:
        size = problem.tensors[stay.tensor].size // unit
        address = cp.new_int_var(0, problem.budget // unit - size, "")
        addresses.append(address)
        times.append(cp.new_fixed_size_interval_var(stay.start, stay.end - stay.start, ""))
        places.append(cp.new_fixed_size_interval_var(address, size, ""))
    cp.add_no_overlap_2d(times, places)
    answer = minimise(cp, 0, limit, SHARE)
    return [answer[a] * unit for a in addresses] if answer.found else None


def _together(problem: Problem, order: Sequence[int], choice: Choice, fallback: Schedule, limit: Limit) -> Schedule:
    """Gaps and addresses in one model; ``fallback`` where that finds nothing better in time."""
    cp, unit = cp_model.CpModel(), unit_of(problem)
    keep, cost = _gaps(cp, problem, order)
    at: dict[tuple[int, int], cp_model.IntVar] = {}
    times, places = [], []
    for t, steps in enumerate(problem.uses(order)):
        size = problem.tensors[t].size // unit
        for step in steps:
            address = at[t, step] = cp.new_int_var(0, problem.budget // unit - size, "")
            times.append(cp.new_fixed_size_interval_var(step, 1, ""))
            places.append(cp.new_fixed_size_interval_var(address, size, ""))
    for gap, bridged in keep.items():
        size, address = problem.tensors[gap.tensor].size // unit, at[gap.tensor, gap.start]
        cp.add(address == at[gap.tensor, gap.end]).only_enforce_if(bridged)
        cp.add_hint(bridged, gap in choice.kept)
        if gap.inside:
            times.append(cp.new_optional_fixed_size_interval_var(gap.start + 1, len(gap.inside), bridged, ""))
            places.append(cp.new_optional_fixed_size_interval_var(address, size, bridged, ""))
    cp.add_no_overlap_2d(times, places)
    cp.add(cost >= choice.bound // unit)
    cp.add(cost <= fallback.external_bytes // unit)
    answer = minimise(cp, cost, limit, SHARE)
    if not answer.found:
        return fallback
    bridged_gaps = {gap for gap, bridged in keep.items() if answer[bridged]}
    placed = [(run, answer[at[run.tensor, run.start]] * unit) for run in runs(problem, order, bridged_gaps)]
    return finish(problem, order, placed, answer.bound * unit)
