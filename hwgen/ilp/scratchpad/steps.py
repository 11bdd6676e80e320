"""When operators run and tensors are there: what models that choose an order have in common."""

from bisect import bisect_right
from collections.abc import Sequence

from ortools.sat.python import cp_model

from .fixed import unit_of
from .problem import Problem

__all__ = ["Steps"]


class Steps:
    """Variables for the steps of a schedule. All of an operator's tensors are there when it runs.

    Parameters
    ----------
    allowed
        For each operator the steps in which it may run, ascending.

    Members
    -------
    runs
        For each operator whether it runs in each of its steps.
    there, retrieved
        Whether a tensor is there in a step, and whether it is retrieved for it; from its first operator's first step to its
        last one's last; once :meth:`add_tensors` has been called.
    unit
        All sizes are multiples of it.
    """

    def __init__(self, cp: cp_model.CpModel, problem: Problem, allowed: Sequence[Sequence[int]]):
        self.cp, self.problem, self.allowed, self.unit = cp, problem, allowed, unit_of(problem)
        self.yes, self.no = cp.new_constant(1), cp.new_constant(0)
        self.done = [{s: cp.new_bool_var("") for s in steps[:-1]} for steps in allowed]
        self.runs = [{s: self._run(number, s) for s in steps} for number, steps in enumerate(allowed)]
        self.there: dict[tuple[int, int], cp_model.IntVar] = {}
        self.retrieved: dict[tuple[int, int], cp_model.IntVar] = {}

    def by(self, number: int, step: int) -> cp_model.IntVar:
        """Whether the operator has run when ``step`` ends."""
        steps = self.allowed[number]
        k = bisect_right(steps, step) - 1
        return self.no if k < 0 else self.yes if k == len(steps) - 1 else self.done[number][steps[k]]

    def _run(self, number: int, step: int) -> cp_model.IntVar:
        """Whether it runs in ``step``."""
        if len(self.allowed[number]) == 1:
            return self.yes
        now, earlier = self.by(number, step), self.by(number, step - 1)
        self.cp.add_implication(earlier, now)
        variable = self.cp.new_bool_var("")
        self.cp.add(variable == now - earlier)
        return variable

    def add_tensors(self) -> cp_model.LinearExprT:
        """What spills and retrievals cost, in units."""
        return cp_model.LinearExpr.sum(
            [term for t, users in enumerate(self.problem.users) if users for term in self._tensor(t)]
        )

    def _tensor(self, t: int) -> list[cp_model.LinearExprT]:
        """When ``t`` is there; what its spill and its retrievals cost."""
        cp, problem = self.cp, self.problem
        size, maker, users = problem.tensors[t].size // self.unit, problem.makers.get(t), problem.users[t]
        spilled = cp.new_bool_var("") if not problem.has_copy(t) else None
        cost: list[cp_model.LinearExprT] = [] if spilled is None else [spilled * size]
        if maker is None:
            cost.append(-size)  # the first load is compulsory
        earlier = self.no
        for step in range(min(self.allowed[n][0] for n in users), max(self.allowed[n][-1] for n in users) + 1):
            now, retrieved = cp.new_bool_var(""), cp.new_bool_var("")
            self.there[t, step], self.retrieved[t, step] = now, retrieved
            cost.append(retrieved * size)
            for number in users:
                if step in self.runs[number]:
                    cp.add_implication(self.runs[number][step], now)
            made = self.no if maker is None else self.runs[maker].get(step, self.no)
            cp.add_bool_or([~now, earlier, made, retrieved])
            if maker is not None:
                cp.add_implication(now, self.by(maker, step))
            if spilled is not None:
                cp.add_implication(retrieved, spilled)
            earlier = now
        return cost

    def tensors(self) -> dict[int, list[int]]:
        """Those that may be there in each step."""
        found: dict[int, list[int]] = {}
        for t, step in self.there:
            found.setdefault(step, []).append(t)
        return found

    def fit(self, held: Sequence[tuple[cp_model.IntVar, int]], room: int, only_if: cp_model.IntVar | None = None) -> None:
        """Those held, of so many units each, in ``room`` bytes."""
        if sum(size for _, size in held) * self.unit > room:
            fits = self.cp.add(cp_model.LinearExpr.sum([v * size for v, size in held]) <= room // self.unit)
            if only_if is not None:
                fits.only_enforce_if(only_if)
