"""Order and spills in one model, steps × operators and steps × tensors; addresses aside.

After COSMA (arXiv 2311.18246), without addresses: one operator a step, all of its tensors there, bytes within the budget, a
retrieval wherever a tensor appears that was not there in the step before.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from .placing import Run
from .problem import Problem
from .solving import Limit, minimise
from .steps import Steps

__all__ = ["Ordered", "best_order"]


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """An order, and the least that any order of the allowed ones moves."""

    order: tuple[int, ...]
    bound: int


def best_order(
    problem: Problem, hint: Sequence[int], stays: Collection[Run], positions: Sequence[range], limit: Limit, most: float
) -> Ordered:
    """The order with the fewest spills of those that run each operator in one of its ``positions``.

    ``hint``: such an order, with what ``stays`` in it; it comes back where nothing better is found.
    """
    cp = cp_model.CpModel()
    steps = Steps(cp, problem, positions)
    for step in problem.program_order:
        cp.add_exactly_one(row[step] for row in steps.runs if step in row)
    for t, maker in problem.makers.items():
        for user in problem.users[t]:
            if user != maker:
                for step in range(positions[user].start, positions[maker].stop):
                    cp.add_implication(steps.by(user, step), steps.by(maker, step - 1))
    cost = steps.add_tensors()
    for step, tensors in sorted(steps.tensors().items()):
        steps.fit([(steps.there[t, step], problem.tensors[t].size // steps.unit) for t in tensors], problem.budget)
    cp.add(cost >= 0)
    _hint(steps, hint, stays)
    answer = minimise(cp, cost, limit, most, linear=True)
    if not answer.found:
        return Ordered(order=tuple(hint), bound=0)
    order = tuple(next(n for n, row in enumerate(steps.runs) if s in row and answer[row[s]]) for s in problem.program_order)
    return Ordered(order=order, bound=answer.bound * steps.unit)


def _hint(steps: Steps, order: Sequence[int], stays: Collection[Run]) -> None:
    present = {(run.tensor, step) for run in stays for step in range(run.start, run.end)}
    for key, variable in steps.there.items():
        steps.cp.add_hint(variable, key in present)
    for step, number in enumerate(order):
        for s, variable in steps.done[number].items():
            steps.cp.add_hint(variable, s >= step)
        for s, variable in steps.runs[number].items():
            if len(steps.runs[number]) > 1:
                steps.cp.add_hint(variable, s == step)
