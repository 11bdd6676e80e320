"""Order and spills in one model, steps × operators and steps × tensors; addresses aside.

After COSMA (arXiv 2311.18246), without addresses: one operator a step, all of its tensors there, bytes within the budget, a
retrieval wherever a tensor appears that was not there in the step before.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from .fixed import unit_of
from .placing import Run
from .problem import Problem
from .solving import Answer, Limit, minimise

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
    grid = _Grid(cp, positions)
    for t, maker in problem.makers.items():
        for user in problem.users[t]:
            if user != maker:
                grid.precede(maker, user)
    cost, there = _residency(cp, grid, problem)
    cp.add(cost >= 0)
    present = {(run.tensor, step) for run in stays for step in range(run.start, run.end)}
    for key, variable in there.items():
        cp.add_hint(variable, key in present)
    grid.hint(hint)
    answer = minimise(cp, cost, limit, most, linear=True)
    if not answer.found:
        return Ordered(order=tuple(hint), bound=0)
    return Ordered(order=grid.order(answer), bound=answer.bound * unit_of(problem))


class _Grid:
    """When each operator has run: a variable for each of its possible steps."""

    def __init__(self, cp: cp_model.CpModel, positions: Sequence[range]):
        self.cp = cp
        self.positions = positions
        self.yes, self.no = cp.new_constant(1), cp.new_constant(0)
        self.done = [{s: cp.new_bool_var("") for s in steps[:-1]} for steps in positions]
        self.runs = [{s: self._run(number, s) for s in steps} for number, steps in enumerate(positions)]
        for step in range(len(positions)):
            cp.add_exactly_one(row[step] for row in self.runs if step in row)

    def by(self, number: int, step: int) -> cp_model.IntVar:
        """Whether the operator has run when ``step`` ends."""
        steps = self.positions[number]
        return self.no if step < steps.start else self.yes if step >= steps.stop - 1 else self.done[number][step]

    def _run(self, number: int, step: int) -> cp_model.IntVar:
        """Whether it runs in ``step``."""
        if len(self.positions[number]) == 1:
            return self.yes
        now, earlier = self.by(number, step), self.by(number, step - 1)
        self.cp.add_implication(earlier, now)
        variable = self.cp.new_bool_var("")
        self.cp.add(variable == now - earlier)
        return variable

    def precede(self, one: int, other: int) -> None:
        for step in range(self.positions[other].start, self.positions[one].stop):
            self.cp.add_implication(self.by(other, step), self.by(one, step - 1))

    def hint(self, order: Sequence[int]) -> None:
        for step, number in enumerate(order):
            for s, variable in self.done[number].items():
                self.cp.add_hint(variable, s >= step)
            for s, variable in self.runs[number].items():
                if len(self.positions[number]) > 1:
                    self.cp.add_hint(variable, s == step)

    def order(self, answer: Answer) -> tuple[int, ...]:
        steps = range(len(self.positions))
        return tuple(next(n for n, row in enumerate(self.runs) if step in row and answer[row[step]]) for step in steps)


def _residency(
    cp: cp_model.CpModel, grid: _Grid, problem: Problem
) -> tuple[cp_model.LinearExprT, dict[tuple[int, int], cp_model.IntVar]]:
    """What spills and retrievals cost, in units; for each tensor and step whether it is there."""
    unit = unit_of(problem)
    there: dict[tuple[int, int], cp_model.IntVar] = {}
    held: list[list[tuple[cp_model.IntVar, int]]] = [[] for _ in problem.operators]
    cost: list[cp_model.LinearExprT] = []
    for t, users in enumerate(problem.users):
        if not users:
            continue
        size, maker = problem.tensors[t].size // unit, problem.makers.get(t)
        spilled = cp.new_bool_var("") if maker is not None and not problem.has_copy(t) else None
        if spilled is not None:
            cost.append(spilled * size)
        if maker is None:
            cost.append(-size)  # the first load is compulsory
        earlier = grid.no
        for step in range(min(grid.positions[n].start for n in users), max(grid.positions[n].stop for n in users)):
            now, retrieved = cp.new_bool_var(""), cp.new_bool_var("")
            there[t, step] = now
            held[step].append((now, size))
            cost.append(retrieved * size)
            for number in users:
                if step in grid.runs[number]:
                    cp.add_implication(grid.runs[number][step], now)
            made = grid.no if maker is None else grid.runs[maker].get(step, grid.no)
            cp.add_bool_or([~now, earlier, made, retrieved])
            if maker is not None:
                cp.add_implication(now, grid.by(maker, step))
            if spilled is not None:
                cp.add_implication(retrieved, spilled)
            earlier = now
    for row in held:
        if sum(size for _, size in row) * unit > problem.budget:
            cp.add(cp_model.LinearExpr.sum([now * size for now, size in row]) <= problem.budget // unit)
    return cp_model.LinearExpr.sum(cost), there
