"""Which operators must run before which others, and where a network is narrow enough to be cut in parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from .problem import Operator, Problem

__all__ = ["Part", "ancestors", "parts", "positions"]


def ancestors(problem: Problem, operators: Sequence[int]) -> list[int]:
    """For each of ``operators`` (an order) those of them that must run before it, as bits."""
    place = {number: k for k, number in enumerate(operators)}
    before: list[int] = []
    for number in operators:
        bits = 0
        for t in problem.operators[number].inputs:
            k = place.get(problem.makers.get(t, -1))
            if k is not None:
                bits |= before[k] | 1 << k
        before.append(bits)
    return before


def positions(problem: Problem, order: Sequence[int], steps: range) -> list[range]:
    """The steps in which each operator can run, if those that ``order`` has outside of ``steps`` stay in theirs."""
    inner = order[steps.start : steps.stop]
    before = ancestors(problem, inner)
    after = [0] * len(inner)
    for bits in before:
        for k in range(len(inner)):
            after[k] += bits >> k & 1
    found = [range(0)] * len(order)
    for step, number in enumerate(order):
        found[number] = range(step, step + 1)
    for k, number in enumerate(inner):
        found[number] = range(steps.start + before[k].bit_count(), steps.stop - after[k])
    return found


@dataclass(frozen=True, kw_only=True)
class Part:
    """Operators that run one after the other in any order of the whole.

    Parameters
    ----------
    problem
        Of them alone, tensors numbered anew. What the part before leaves here is made by an additional first operator.
    operators
        For each of the problem's operators which one of the whole it is; -1 the additional one.
    """

    problem: Problem
    operators: tuple[int, ...]


def parts(problem: Problem) -> list[Part]:
    """``problem`` cut after each operator that has to run after all those before it and before all others, and whose outputs
    are all that is in use on both sides. Spills of the parts then add up to those of the whole.
    """
    count = len(problem.operators)
    before = ancestors(problem, problem.program_order)
    common, follow = (1 << count) - 1, [0] * count  # the ancestors that all later operators have
    for number in reversed(range(count)):
        follow[number] = common
        common &= before[number]
    last = [max(users, default=-1) for users in problem.users]
    reach = [0] * count  # the last use of what is first used up to here, but not made here
    farthest = -1
    for number in range(count):
        inherited = [last[t] for t in problem.operators[number].inputs]
        reach[number] = max([farthest, *inherited])
        farthest = max([farthest, *(last[t] for t in problem.operators[number].tensors)])
    found, start = [], 0
    carried: tuple[int, ...] = ()
    for number in range(count):
        narrow = before[number].bit_count() == number and follow[number] >> number & 1 and reach[number] <= number
        if narrow or number == count - 1:
            found.append(_part(problem, carried, range(start, number + 1)))
            start, carried = number + 1, tuple(t for t in problem.operators[number].outputs if last[t] > number)
    return found


def _part(problem: Problem, carried: tuple[int, ...], numbers: range) -> Part:
    first = [Operator(inputs=(), outputs=carried)] if carried else []
    chosen = [*first, *(problem.operators[n] for n in numbers)]
    names: dict[int, int] = {}
    for op in chosen:
        for t in op.tensors:
            names.setdefault(t, len(names))
    return Part(
        problem=Problem(
            tensors=tuple(problem.tensors[t] for t in names),
            operators=tuple(
                Operator(inputs=tuple(names[t] for t in op.inputs), outputs=tuple(names[t] for t in op.outputs))
                for op in chosen
            ),
            budget=problem.budget,
            reorder=True,
        ),
        operators=(*([-1] * len(first)), *numbers),
    )
