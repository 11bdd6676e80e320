"""Operators, the tensors between them and a scratchpad: what there is to schedule, and what a schedule is."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Gap", "InfeasibleError", "Operator", "Problem", "Schedule", "Stay", "Tensor"]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """``size`` bytes that move and lie together.

    Parameters
    ----------
    external
        In external memory before the first step: an input of the network, or weights. No operator makes it.
    output
        Has to be in external memory after the last step.
    """

    size: int
    external: bool = False
    output: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be positive, not {self.size}")


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Takes one step, in which all of its ``inputs`` and ``outputs`` (indices of tensors) lie in the scratchpad."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs"):
            tensors = getattr(self, name)
            if len(set(tensors)) < len(tensors):
                raise ValueError(f"{name} must be different tensors, not {tensors}")

    @property
    def tensors(self) -> tuple[int, ...]:
        return self.inputs + self.outputs


@dataclass(frozen=True, kw_only=True)
class Gap:
    """``tensor`` is used in steps ``start`` and ``end`` and in none between: kept meanwhile, or dropped and retrieved."""

    tensor: int
    start: int
    end: int

    @property
    def inside(self) -> range:
        """The steps that don't use it."""
        return range(self.start + 1, self.end)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network's operators in program order (each after those that make its inputs), and ``budget``: the scratchpad's bytes.

    Parameters
    ----------
    reorder
        Whether the order may be changed.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    budget: int
    reorder: bool = False

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"budget must be positive, not {self.budget}")
        there = {t for t, tensor in enumerate(self.tensors) if tensor.external}
        for number, op in enumerate(self.operators):
            if any(t not in range(len(self.tensors)) for t in op.tensors):
                raise ValueError(f"operator {number}: tensors must be below {len(self.tensors)}, not {op.tensors}")
            if missing := set(op.inputs) - there:
                raise ValueError(f"operator {number}: inputs {sorted(missing)} must be external or made before")
            if again := there & set(op.outputs):
                raise ValueError(f"operator {number}: outputs {sorted(again)} must be made once, and not external")
            there.update(op.outputs)
        if len(there) < len(self.tensors):
            raise ValueError("each tensor must be external or made by an operator")

    @cached_property
    def makers(self) -> dict[int, int]:
        """The operator that makes each tensor that isn't external."""
        return {t: number for number, op in enumerate(self.operators) for t in op.outputs}

    @cached_property
    def users(self) -> list[list[int]]:
        """For each tensor its operators, the maker first."""
        found: list[list[int]] = [[] for _ in self.tensors]
        for number, op in enumerate(self.operators):
            for t in op.tensors:
                found[t].append(number)
        return found

    @property
    def program_order(self) -> tuple[int, ...]:
        return tuple(range(len(self.operators)))

    @property
    def compulsory_bytes(self) -> int:
        """What moves once in any case: external tensors that are used, and outputs that are made."""
        loaded = sum(t.size for t, users in zip(self.tensors, self.users, strict=True) if t.external and users)
        return loaded + sum(t.size for t in self.tensors if t.output and not t.external)

    def total(self, tensors: Sequence[int]) -> int:
        """Bytes of ``tensors``."""
        return sum(self.tensors[t].size for t in tensors)

    def working_set(self, operator: int) -> int:
        """Bytes of an operator's inputs and outputs."""
        return self.total(self.operators[operator].tensors)

    def has_copy(self, tensor: int) -> bool:
        """Whether there is a copy in external memory that nobody has to pay for."""
        return self.tensors[tensor].external or self.tensors[tensor].output

    def check_working_sets(self) -> None:
        """Raises :class:`InfeasibleError` if some operator's inputs and outputs alone exceed the budget."""
        worst = max(self.program_order, key=self.working_set, default=None)
        if worst is not None and self.working_set(worst) > self.budget:
            raise InfeasibleError(worst, self.working_set(worst))

    def uses(self, order: Sequence[int]) -> list[list[int]]:
        """For each tensor the steps that use it, ascending; ``order``: the operator of each step."""
        step = {number: s for s, number in enumerate(order)}
        return [sorted(step[number] for number in users) for users in self.users]

    def gaps(self, order: Sequence[int]) -> list[Gap]:
        """All gaps between uses, tensor by tensor."""
        return [
            Gap(tensor=t, start=start, end=end)
            for t, steps in enumerate(self.uses(order))
            for start, end in itertools.pairwise(steps)
        ]

    def live(self, order: Sequence[int]) -> list[int]:
        """Bytes in each step if everything stays from its first to its last use."""
        sizes = [0] * (len(order) + 1)
        for t, steps in enumerate(self.uses(order)):
            if steps:
                sizes[steps[0]] += self.tensors[t].size
                sizes[steps[-1] + 1] -= self.tensors[t].size
        for s in range(1, len(sizes)):
            sizes[s] += sizes[s - 1]
        return sizes[:-1]


class InfeasibleError(Exception):
    """``operator``'s inputs and outputs alone take ``needed`` bytes, more than the budget."""

    def __init__(self, operator: int, needed: int):
        super().__init__(f"operator {operator} needs {needed} bytes")
        self.operator = operator
        self.needed = needed


@dataclass(frozen=True, kw_only=True, order=True)
class Stay:
    """``tensor`` lies at ``address`` from step ``start`` until before step ``end``.

    A tensor's first stay begins when it is made, or with a load if it is external; each further one with a retrieval from
    external memory. What has been made and comes again is written there once, when its first stay ends.
    """

    tensor: int
    start: int
    end: int
    address: int


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which operator runs in which step, and what lies where meanwhile.

    Parameters
    ----------
    order
        The operator of each step.
    external_bytes
        Spills and retrievals: what moves beyond ``Problem.compulsory_bytes``.
    bound
        No schedule moves less.
    proven
        Whether the two are equal.
    """

    order: tuple[int, ...]
    stays: tuple[Stay, ...]
    external_bytes: int
    bound: int
    proven: bool
