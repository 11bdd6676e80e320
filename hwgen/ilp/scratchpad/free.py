"""An order with few spills: the network divided into parts, each solved as a whole, or along a chain and then by windows."""

from collections.abc import Sequence
from dataclasses import dataclass

from .chain import best_along_chain
from .fixed import Choice, best_gaps
from .ordering import Ordered, best_order
from .placing import Run, runs
from .precedence import parts, positions
from .problem import Problem
from .series import contract
from .solving import Limit

__all__ = ["find_order"]

WHOLE = 2000  #: steps that the operators of a part can run in, all together, up to which it is solved as a whole
WINDOWS = ((40, 0.5), (80, 3.0))  #: steps of a window, deterministic seconds for it; the narrow ones first
SHARE = 5.0  #: deterministic seconds of one model of a part


def find_order(problem: Problem, limit: Limit) -> Ordered:
    """An order with few spills, addresses aside, and the least that any order spills."""
    joined = contract(problem)
    order: list[int] = []
    bound = 0
    known: dict[Problem, Ordered] = {}
    for part in parts(joined.problem):
        if part.problem not in known:
            known[part.problem] = _solve(part.problem, limit)
        best = known[part.problem]
        order += [part.operators[k] for k in best.order if part.operators[k] >= 0]
        bound += best.bound
    return Ordered(order=joined.expand(order), bound=bound)


@dataclass
class _Search:
    """The best order so far, what is kept in it, and what no order is below."""

    problem: Problem
    limit: Limit
    order: tuple[int, ...]
    choice: Choice
    bound: int = 0

    @property
    def over(self) -> bool:
        return self.choice.value <= self.bound or self.limit.left <= 0

    def stays(self) -> list[Run]:
        return runs(self.problem, self.order, self.choice.kept)

    def dropped(self) -> list[range]:
        """From use to use where something is elsewhere meanwhile."""
        gaps = self.problem.gaps(self.order)
        return [range(gap.start, gap.end + 1) for gap in gaps if gap not in self.choice.kept]

    def offer(self, order: Sequence[int]) -> bool:
        """Whether this order is better; then it is the best."""
        choice = best_gaps(self.problem, order, self.limit)
        better = choice.value < self.choice.value
        if better:
            self.order, self.choice = tuple(order), choice
        return better


def _solve(problem: Problem, limit: Limit) -> Ordered:
    order = problem.program_order
    search = _Search(problem, limit, order, best_gaps(problem, order, limit))
    if search.choice.value == 0:
        return Ordered(order=order, bound=0)
    everywhere = positions(problem, order, range(len(order)))
    if sum(map(len, everywhere)) <= WHOLE:
        return best_order(problem, order, search.stays(), everywhere, limit, SHARE)
    _along_chain(search)
    _by_windows(search)
    return Ordered(order=search.order, bound=search.bound)


def _along_chain(search: _Search) -> None:
    """The model along a chain, finer where operators of one slot are in each other's way, until the bound is met.

    At most half of the time, so that windows have the other.
    """
    problem, limit, half = search.problem, search.limit, search.limit.left / 2
    strict: dict[int, int] = {}
    while not search.over and limit.left > half:
        along = best_along_chain(problem, search.order, search.stays(), strict, limit, SHARE)
        if along is None:
            return
        search.bound = max(search.bound, along.bound)
        this = _Search(problem, limit, along.order, best_gaps(problem, along.order, limit))
        this.offer(best_order(problem, this.order, this.stays(), along.positions, limit, SHARE).order)
        search.offer(this.order)
        crowded = {k: steps for k, steps in along.slots.items() if len(steps) > strict.get(k, 0) + 1}
        bad = {k for k, steps in crowded.items() if any(d.start < steps.stop and d.stop > steps.start for d in this.dropped())}
        if not crowded:
            return
        strict.update({k: len(crowded[k]) - 1 for k in bad or crowded})


def _by_windows(search: _Search) -> None:
    """Windows that overlap by half, one after the other, wherever something is spilled, until none finds a better order."""
    count = len(search.order)
    for window, share in WINDOWS:
        better = True
        while better:
            better = False
            for start in range(0, max(1, count - window // 2), window // 2):
                steps = range(start, min(count, start + window))
                if search.over:
                    return
                if any(d.start < steps.stop and d.stop > steps.start for d in search.dropped()):
                    where = positions(search.problem, search.order, steps)
                    found = best_order(search.problem, search.order, search.stays(), where, search.limit, share)
                    better |= search.offer(found.order)
