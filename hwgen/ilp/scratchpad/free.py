"""An order with few spills: the network divided into parts, large parts into windows."""

from .fixed import Choice, best_gaps
from .ordering import Ordered, best_order
from .peak import Peak, peak_of_part
from .placing import runs
from .precedence import parts, positions
from .problem import Problem
from .solving import Limit

__all__ = ["find_order"]

WHOLE = 2000  #: steps that the operators of a part can run in, all together, up to which it is solved as a whole
WINDOWS = ((40, 0.5), (80, 3.0))  #: steps of a window, deterministic seconds for it; the narrow ones first
SHARE = 5.0  #: deterministic seconds of a part


def find_order(problem: Problem, limit: Limit) -> Ordered:
    """An order with few spills, addresses aside, and the least that any order spills."""
    order: list[int] = []
    bound = 0
    known: dict[Problem, Ordered] = {}
    for part in parts(problem):
        if part.problem not in known:
            known[part.problem] = _solve(part.problem, limit)
        best = known[part.problem]
        order += [part.operators[k] for k in best.order if part.operators[k] >= 0]
        bound += best.bound
    return Ordered(order=tuple(order), bound=bound)


def _solve(problem: Problem, limit: Limit) -> Ordered:
    order, count = problem.program_order, len(problem.operators)
    choice = best_gaps(problem, order, limit)
    if choice.value == 0:
        return Ordered(order=order, bound=0)
    everywhere = positions(problem, order, range(count))
    if sum(map(len, everywhere)) <= WHOLE:
        return best_order(problem, order, runs(problem, order, choice.kept), everywhere, limit, SHARE)
    peak = peak_of_part(problem, limit)
    other = best_gaps(problem, peak.order, limit)
    if other.value < choice.value:
        order, choice = peak.order, other
    return Ordered(order=_improve(problem, order, choice, limit), bound=_excess(problem, peak))


def _excess(problem: Problem, peak: Peak) -> int:
    """Bytes that must move since every order has a step in which as many are alive as ``peak`` says.

    What exceeds the budget there is elsewhere meanwhile and comes back; what has no copy is written besides.
    """
    copies = any(problem.has_copy(t) and len(users) > 1 for t, users in enumerate(problem.users))
    return max(0, peak.bound - problem.budget) * (1 if copies else 2)


def _improve(problem: Problem, order: tuple[int, ...], choice: Choice, limit: Limit) -> tuple[int, ...]:
    """Windows that overlap by half, one after the other, wherever something is spilled, until none finds a better order."""
    count = len(order)
    for window, share in WINDOWS:
        better = True
        while better and choice.value and limit.left > 0:
            better = False
            for start in range(0, max(1, count - window // 2), window // 2):
                steps = range(start, min(count, start + window))
                dropped = [gap for gap in problem.gaps(order) if gap not in choice.kept]
                if not any(gap.start < steps.stop and gap.end >= steps.start for gap in dropped):
                    continue
                stays = runs(problem, order, choice.kept)
                found = best_order(problem, order, stays, positions(problem, order, steps), limit, share)
                new = best_gaps(problem, found.order, limit)
                if new.value < choice.value:
                    order, choice, better = found.order, new, True
    return order
