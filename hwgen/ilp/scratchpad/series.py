"""Operators that may as well run directly one after the other, made into one: fewer orders to search, the same fewest bytes.

Only bytes count here, not addresses. ``a`` makes a tensor that only ``b`` reads. Wherever a schedule runs the two apart, ``b``
can move up to ``a``, or ``a`` down to ``b``, if that takes no more room in the step and leaves no more to hold meanwhile than
the tensor itself:

- up: ``b`` reads nothing else, leaves no more than the tensor, and takes no more than ``a`` does beside what others read too;
- down: ``a`` alone reads its inputs, which are no more than the tensor, and takes no more than ``b`` does beside its other
  inputs.

What only one operator touches (weights, the tensors within joined operators) is room that the operator takes, and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .problem import Operator, Problem, Tensor

__all__ = ["Contracted", "contract"]


@dataclass(frozen=True, kw_only=True)
class Contracted:
    """``problem`` with the same fewest bytes over all orders; ``operators``: the original ones of each of its own."""

    problem: Problem
    operators: tuple[tuple[int, ...], ...]

    def expand(self, order: Sequence[int]) -> tuple[int, ...]:
        """The original operators in this order of the joined ones."""
        return tuple(number for joined in order for number in self.operators[joined])


@dataclass(kw_only=True)
class _Joined:
    """Operators that run together; ``room``: bytes in their largest step."""

    members: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    room: int


def contract(problem: Problem) -> Contracted:
    """``problem``, whose order is free, with all pairs joined that may be, one after the other."""
    private = {t for t, users in enumerate(problem.users) if len(users) == 1}
    groups = {
        number: _Joined(
            members=(number,),
            inputs=tuple(t for t in op.inputs if t not in private),
            outputs=tuple(t for t in op.outputs if t not in private),
            room=problem.working_set(number),
        )
        for number, op in enumerate(problem.operators)
    }
    readers = {t: list(users[1:] if t in problem.makers else users) for t, users in enumerate(problem.users)}
    queue = sorted(groups, reverse=True)
    while queue:
        number = queue.pop()
        first = groups.get(number)
        if first is None or len(first.outputs) != 1 or len(readers[first.outputs[0]]) != 1:
            continue
        (link,) = first.outputs
        (reader,) = readers[link]
        joined = _join(problem, readers, first, groups[reader], link)
        if joined is None:
            continue
        groups[reader] = joined
        del groups[number]
        for t in first.inputs:
            readers[t] = [reader if n == number else n for n in readers[t]]
            if t in problem.makers:
                queue.append(next(n for n, group in groups.items() if t in group.outputs))
        queue.append(reader)
    return _build(problem, list(groups.values()))


def _join(problem: Problem, readers: dict[int, list[int]], a: _Joined, b: _Joined, link: int) -> _Joined | None:
    """``a`` and ``b`` in one; None where that could cost something."""
    if problem.tensors[link].output:
        return None
    size, total = problem.tensors[link].size, problem.total
    own = [t for t in a.inputs if len(readers[t]) == 1]
    shared = total(a.inputs) - total(own)
    others = tuple(t for t in b.inputs if t != link)
    up = not others and b.room <= a.room - shared and total(b.outputs) <= size
    down = not shared and total(own) <= size and a.room + total(others) <= b.room
    if not up and not down:
        return None
    return _Joined(
        members=a.members + b.members,
        inputs=a.inputs + tuple(t for t in others if t not in a.inputs),
        outputs=b.outputs,
        room=a.room if up else b.room,
    )


def _build(problem: Problem, groups: list[_Joined]) -> Contracted:
    """Room beyond inputs and outputs becomes a tensor that nobody reads; groups in the order of their last members."""
    groups.sort(key=lambda group: max(group.members))
    tensors: list[Tensor] = []
    names: dict[int, int] = {}
    operators = []
    for group in groups:
        for t in (*group.inputs, *group.outputs):
            if t not in names:
                names[t] = len(tensors)
                tensors.append(problem.tensors[t])
        outputs = [names[t] for t in group.outputs]
        if room := group.room - problem.total(group.inputs) - problem.total(group.outputs):
            outputs.append(len(tensors))
            tensors.append(Tensor(size=room))
        operators.append(Operator(inputs=tuple(names[t] for t in group.inputs), outputs=tuple(outputs)))
    joined = Problem(tensors=tuple(tensors), operators=tuple(operators), budget=problem.budget, reorder=True)
    return Contracted(problem=joined, operators=tuple(group.members for group in groups))
