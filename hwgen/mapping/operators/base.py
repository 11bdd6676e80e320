"""What an operator offers the mapper: its unrollings, and the chain of templates each of them makes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

from ...graph import Node
from ..design import Template

__all__ = ["Block", "Operator", "Unrolling", "ceil_divisions", "divisors", "fewest_steps", "serial_steps"]


@dataclass(frozen=True, kw_only=True)
class Unrolling:
    """How much of a node's work happens in the same cycle (letters as in docs/architecture.md).

    Parameters
    ----------
    rows
        R, kernel rows.
    lanes
        g, channels of an input word.
    packing
        n, input words in one operand word.
    pe
        P, output channels.
    out_lanes
        q, channels of an output word.
    steps
        Cycles the requantiser takes for an output word.
    soft
        Multipliers made of LUTs instead of DSPs.
    """

    rows: int = 1
    lanes: int = 1
    packing: int = 1
    pe: int = 1
    out_lanes: int = 1
    steps: int = 1
    soft: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A template in a chain; ``contents()`` makes what its memories hold."""

    suffix: str
    params: Template
    contents: Callable[[], Any] | None = field(default=None, repr=False)


class Operator(Protocol):
    """A graph node, ready to be mapped."""

    @property
    def node(self) -> Node: ...

    @property
    def macs(self) -> int:
        """Multiplications of one frame, as usually counted (with padding)."""
        ...

    def unrollings(self, multipliers: int) -> Iterable[Unrolling]:
        """Those worth considering with up to ``multipliers`` multipliers; at least one unless none fits."""
        ...

    def reference(self) -> Unrolling:
        """One that is quick to compute in NumPy."""
        ...

    def blocks(self, unrolling: Unrolling) -> tuple[Block, ...]:
        """The chain of templates, in the order of the data. All but the first have one input."""
        ...

    def multipliers(self, unrolling: Unrolling) -> int:
        """Multipliers of the MACs."""
        ...


def divisors(n: int) -> list[int]:
    """All divisors of ``n``, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]


def ceil_divisions(n: int) -> list[int]:
    """The least d for each value that ceil(n / d) takes, ascending: 1 .. n."""
    return sorted({ceil(n / quotient) for quotient in range(1, n + 1)})


def serial_steps(pe: int, outputs: int, cycles: int) -> tuple[int, int] | None:
    """Requantiser for words of ``pe`` accumulators that come every ``cycles`` cycles.

    Returns the fewest lanes that keep up, and the most steps for each word of that many lanes; None where even one step for
    each is too slow.
    """
    lanes = next((q for q in divisors(pe) if outputs % q == 0 and pe // q <= cycles), None)
    return None if lanes is None else (lanes, cycles // (pe // lanes))


def fewest_steps(bits: int, available: int) -> int:
    """The fewest steps with which a serial multiplier of ``bits`` bits needs no more bits a step than with ``available``."""
    digit = -(-bits // min(bits, available))
    return -(-bits // digit)
