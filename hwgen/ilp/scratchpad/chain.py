"""A bound over all orders, and an order to try: only operators that follow each other in any order get a step of their own.

Such a chain divides time; each other operator runs in some slot between two of its operators. In the chain's steps bytes count
as they do in a schedule. Of what runs in the same slot the order is left open; only what lies through the whole slot counts
against its room. So everything that a schedule may do is allowed here, and the fewest bytes are a lower bound. Steps and
positions are few, since the chain is long: networks of hundreds of operators are one model. Where the bound is not met, slots
get steps in which bytes count, too, before the one that leaves the order open; with as many as operators the model is exact.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ortools.sat.python import cp_model

from .placing import Run
from .precedence import ancestors
from .problem import Problem
from .solving import Limit, minimise
from .steps import Steps

__all__ = ["Along", "best_along_chain"]


@dataclass(frozen=True, kw_only=True)
class Along:
    """What the fewest bytes along the chain say of all orders.

    Parameters
    ----------
    order
        Those in the same slot in program order, unless they have steps.
    bound
        No order moves less.
    slots
        The steps of ``order`` between operators of the chain, by slot.
    """

    order: tuple[int, ...]
    bound: int
    slots: Mapping[int, range]

    @property
    def positions(self) -> list[range]:
        """Where each operator of ``order`` may move within its slot."""
        found = [range(0)] * len(self.order)
        for step, number in enumerate(self.order):
            found[number] = range(step, step + 1)
        for steps in self.slots.values():
            for step in steps:
                found[self.order[step]] = steps
        return found


def best_along_chain(
    problem: Problem, hint: Sequence[int], stays: Collection[Run], strict: Mapping[int, int], limit: Limit, most: float
) -> Along | None:
    """``hint``: an order, with what ``stays`` in it; ``strict``: how many steps of a slot count bytes. None: out of time."""
    times = _times(problem, strict)
    model = _Model(problem, times)
    model.hint(hint, stays)
    answer = minimise(model.cp, model.cost, limit, most, linear=True)
    if not answer.found:
        return None
    step = [next(s for s, runs in row.items() if answer[runs]) for row in model.steps.runs]
    order = sorted(problem.program_order, key=lambda number: (step[number], number))
    ordered = [step[number] for number in order]
    slots = {k: range(bisect_left(ordered, steps[0]), bisect_right(ordered, steps[-1])) for k, steps in times.slots.items()}
    return Along(order=tuple(order), bound=answer.bound * model.steps.unit, slots=slots)


@dataclass(frozen=True, kw_only=True)
class _Times:
    """The steps of the model: those of slot 0, the chain's first operator, those of slot 1, ...

    Parameters
    ----------
    slots
        The steps of each slot in which anything may run; the last one leaves the order open.
    allowed
        The steps in which each operator may run.
    """

    chain: tuple[int, ...]
    slots: Mapping[int, range]
    allowed: tuple[tuple[int, ...], ...]

    @cached_property
    def loose(self) -> frozenset[int]:
        """Steps that leave the order of what runs in them open."""
        return frozenset(steps[-1] for steps in self.slots.values())

    def of(self, order: Sequence[int]) -> list[int]:
        """The step for each in ``order``."""
        found: list[int] = []
        slot = rank = 0
        for number in order:
            if number in self.chain:
                found.append(self.allowed[number][0])
                slot, rank = slot + 1, 0
            else:
                found.append(self.slots[slot][min(rank, len(self.slots[slot]) - 1)])
                rank += 1
        return found


def _times(problem: Problem, strict: Mapping[int, int]) -> _Times:
    before = ancestors(problem, problem.program_order)
    chain = _heaviest_chain(problem, before)
    others = [number for number in problem.program_order if number not in chain]
    spans = {}  # the slots in which each operator may run
    for number in others:
        first = max((k + 1 for k, c in enumerate(chain) if before[number] >> c & 1), default=0)
        last = min((k for k, c in enumerate(chain) if before[c] >> number & 1), default=len(chain))
        spans[number] = range(first, last + 1)
    used = {slot for span in spans.values() for slot in span}
    allowed: list[tuple[int, ...]] = [()] * len(problem.operators)
    slots, step = {}, 0
    for slot in range(len(chain) + 1):
        if slot in used:
            slots[slot] = range(step, step + strict.get(slot, 0) + 1)
            step = slots[slot].stop
        if slot < len(chain):
            allowed[chain[slot]] = (step,)
            step += 1
    for number, span in spans.items():
        allowed[number] = tuple(s for slot in span for s in slots[slot])
    return _Times(chain=chain, slots=slots, allowed=tuple(allowed))


def _heaviest_chain(problem: Problem, before: Sequence[int]) -> tuple[int, ...]:
    """The one with the most bytes in all of its working sets."""
    best: list[tuple[int, int]] = []  # bytes of the best chain up to each operator, and the one before in it
    for number in problem.program_order:
        most, previous = max(((best[k][0], k) for k in range(number) if before[number] >> k & 1), default=(0, -1))
        best.append((most + problem.working_set(number), previous))
    chain = []
    number = max(problem.program_order, key=lambda n: best[n][0])
    while number >= 0:
        chain.append(number)
        number = best[number][1]
    return tuple(reversed(chain))


class _Model:
    def __init__(self, problem: Problem, times: _Times):
        self.cp = cp_model.CpModel()
        self.problem, self.times = problem, times
        self.steps = Steps(self.cp, problem, times.allowed)
        for t, maker in problem.makers.items():
            for user in problem.users[t]:
                if user != maker:
                    self._precede(maker, user)
        self._fill()
        self.cost = self.steps.add_tensors()
        self.cp.add(self.cost >= 0)
        self._rooms()

    def _precede(self, one: int, other: int) -> None:
        for step in self.times.allowed[other]:
            if step <= self.times.allowed[one][-1]:
                self.cp.add_implication(self.steps.by(other, step), self.steps.by(one, step))

    def _fill(self) -> None:
        """Nothing runs in a step of a slot if nothing does in the one before: which are empty makes no difference."""
        in_step: dict[int, list[cp_model.IntVar]] = {}
        for row in self.steps.runs:
            for step, runs in row.items():
                in_step.setdefault(step, []).append(runs)
        for steps in self.times.slots.values():
            for step in steps[:-1]:
                for runs in in_step[step + 1]:
                    self.cp.add_bool_or([~runs, *in_step[step]])

    def _rooms(self) -> None:
        """Bytes in each step; in a loose one beside each operator only what is there before, meanwhile and after."""
        problem, there = self.problem, self.steps.there
        sizes = [tensor.size // self.steps.unit for tensor in problem.tensors]
        by_step = self.steps.tensors()
        through = {}
        for step, tensors in by_step.items():
            if step not in self.times.loose:
                self.steps.fit([(there[t, step], sizes[t]) for t in tensors], problem.budget)
                continue
            for t in tensors:
                if (t, step - 1) in there and (t, step + 1) in there:
                    through[t, step] = self.cp.new_bool_var("")
                    absent = [~there[t, step - 1], self.steps.retrieved[t, step], ~there[t, step + 1]]
                    self.cp.add_bool_or([through[t, step], *absent])
        for number, row in enumerate(self.steps.runs):
            for step, runs in row.items():
                if step in self.times.loose:
                    beside = [t for t in by_step[step] if t not in problem.operators[number].tensors and (t, step) in through]
                    room = problem.budget - problem.working_set(number)
                    self.steps.fit([(through[t, step], sizes[t]) for t in beside], room, runs)

    def hint(self, order: Sequence[int], stays: Collection[Run]) -> None:
        at = self.times.of(order)
        step = dict(zip(order, at, strict=True))
        for number, row in enumerate(self.steps.done):
            for s, variable in row.items():
                self.cp.add_hint(variable, step[number] <= s)
        present = {(run.tensor, s) for run in stays for s in range(at[run.start], at[run.end - 1] + 1)}
        for key, variable in self.steps.there.items():
            self.cp.add_hint(variable, key in present)
