"""The order whose largest step takes the fewest bytes, if everything stays from its first to its last use."""

from collections.abc import Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from .fixed import unit_of
from .precedence import parts, positions
from .problem import Problem
from .series import contract
from .solving import Limit, minimise

__all__ = ["Peak", "least_peak", "peak_of_part"]

SHARE = 5.0  #: deterministic seconds of one model


@dataclass(frozen=True, kw_only=True)
class Peak:
    """An order, the bytes of its largest step, and the least that any order needs; ``proven``: whether the two are equal."""

    order: tuple[int, ...]
    bytes: int
    bound: int

    @property
    def proven(self) -> bool:
        return self.bound == self.bytes


def least_peak(problem: Problem, seconds: float = 20) -> Peak:
    """Minimum peak over all orders, whatever the budget; ``seconds``: deterministic time limit."""
    limit = Limit(seconds)
    joined = contract(problem)  # what spills nothing within some budget still doesn't
    order: list[int] = []
    bound = max(map(problem.working_set, problem.program_order), default=0)
    known: dict[Problem, Peak] = {}
    for part in parts(joined.problem):
        if part.problem not in known:
            known[part.problem] = peak_of_part(part.problem, limit, bound)
        best = known[part.problem]
        order += [part.operators[k] for k in best.order if part.operators[k] >= 0]
        bound = max(bound, best.bound)
    found = joined.expand(order)
    return Peak(order=found, bytes=max(problem.live(found), default=0), bound=bound)


def peak_of_part(problem: Problem, limit: Limit, enough: int = 0) -> Peak:
    """Minimum peak in one model: a step for each operator, all different; an interval for each tensor.

    ``enough``: bytes that are needed elsewhere anyway; nothing smaller is looked for.
    """
    order = problem.program_order
    least = max(enough, *map(problem.working_set, order))
    first = Peak(order=order, bytes=max(least, *problem.live(order)), bound=least)
    if first.proven:
        return first
    cp, unit, count = cp_model.CpModel(), unit_of(problem), len(order)
    steps = positions(problem, order, range(count))
    at = [cp.new_int_var(p.start, p.stop - 1, "") for p in steps]
    cp.add_all_different(at)
    for number in order:
        cp.add_hint(at[number], number)
    peak = cp.new_int_var(least // unit, first.bytes // unit, "")
    _hold(cp, problem, at, peak)
    answer = minimise(cp, peak, limit, SHARE)
    if not answer.found:
        return first
    found = tuple(sorted(order, key=lambda number: answer[at[number]]))
    return Peak(order=found, bytes=max(least, *problem.live(found)), bound=max(least, answer.bound * unit))


def _hold(cp: cp_model.CpModel, problem: Problem, at: Sequence[cp_model.IntVar], peak: cp_model.IntVar) -> None:
    """Each tensor an interval from its first to its last use, all of them together below ``peak`` at any time."""
    intervals, sizes, unit, count = [], [], unit_of(problem), len(at)
    for t, users in enumerate(problem.users):
        if not users:
            continue
        maker = problem.makers.get(t)
        start, end = cp.new_int_var(0, count - 1, ""), cp.new_int_var(1, count, "")
        if maker is None:
            cp.add_min_equality(start, [at[number] for number in users])
        else:
            cp.add(start == at[maker])
            for number in users:
                if number != maker:
                    cp.add(at[maker] < at[number])
        cp.add_max_equality(end, [at[number] + 1 for number in users])
        intervals.append(cp.new_interval_var(start, cp.new_int_var(1, count, ""), end, ""))
        sizes.append(problem.tensors[t].size // unit)
    cp.add_cumulative(intervals, sizes, peak)
