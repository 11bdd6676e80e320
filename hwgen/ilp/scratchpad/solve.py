"""The best schedule of a problem."""

from dataclasses import replace

from .check import check
from .fixed import solve_fixed
from .free import find_order
from .problem import Problem, Schedule
from .solving import Limit

__all__ = ["solve"]


def solve(problem: Problem, seconds: float = 20) -> Schedule:
    """A schedule that moves few bytes, how few are possible, and whether these are proven equal; checked.

    ``seconds``: time limit, for the order (if it may change) and for the rest, in CP-SAT's deterministic measure: the same
    problem gives the same schedule on any machine. What is found until then comes back. Raises :class:`InfeasibleError` if an
    operator's inputs and outputs exceed the budget.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds}")
    problem.check_working_sets()
    if not problem.reorder:
        return check(problem, solve_fixed(problem, problem.program_order, Limit(seconds)))
    found = find_order(problem, Limit(seconds))
    schedule = solve_fixed(problem, found.order, Limit(seconds))
    bound = min(found.bound, schedule.external_bytes)
    return check(problem, replace(schedule, bound=bound, proven=bound == schedule.external_bytes))
