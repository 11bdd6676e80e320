"""Engines to choose from, networks to choose for, and what a choice is; recomputed without a solver."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

from ..cost import Resources
from .unroll import Shortage

__all__ = [
    "RESOURCES",
    "InfeasibleError",
    "Layer",
    "Network",
    "Problem",
    "Room",
    "Shape",
    "Solution",
    "check",
    "time_of",
    "without_bus",
]

RESOURCES = tuple(f.name for f in fields(Resources))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An array of multipliers with its memories.

    Parameters
    ----------
    array
        A number for the array: shapes of the same one differ in their memories.
    banks
        Of the scratchpad, for each bus.
    resources
        For each bus: all but multipliers and scratchpad.
    """

    array: int
    multipliers: int
    banks: tuple[int, ...]
    resources: tuple[Resources, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What is done at once.

    Parameters
    ----------
    cycles
        For each shape: of the array, or of another unit that works meanwhile, whatever is most.
    beats
        For each shape and bus: of the constants.
    apart
        For each shape: whether constants cannot come while the array works.
    more
        For each shape: cycles more in a scratchpad without room for all that could be done at once.
    """

    cycles: tuple[int, ...]
    beats: tuple[tuple[int, ...], ...]
    apart: tuple[bool, ...]
    more: tuple[int, ...]

    def time(self, shape: int, bus: int) -> int:
        """Cycles."""
        ours, theirs = self.cycles[shape], self.beats[shape][bus]
        return ours + theirs if self.apart[shape] else max(ours, theirs)


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes of spills in a scratchpad, and whether it has room for all that could be done at once."""

    spills: int
    together: bool


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layers, and the room of each scratchpad by its number of banks: of those with which it suffices."""

    layers: tuple[Layer, ...]
    rooms: tuple[Mapping[int, Room], ...]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Candidates, and what they are chosen for.

    Parameters
    ----------
    buses
        Bytes of each.
    scratchpads
        Of each the resources by its number of banks.
    soft
        What a multiplier made of LUTs takes.
    budget
        Multipliers beyond its DSPs are made of LUTs.
    worst
        Whether the slowest network counts, instead of the sum.
    """

    networks: tuple[Network, ...]
    shapes: tuple[Shape, ...]
    buses: tuple[int, ...]
    scratchpads: tuple[Mapping[int, Resources], ...]
    soft: Resources
    budget: Resources
    worst: bool = False

    def __post_init__(self) -> None:
        for name in ("networks", "shapes", "buses", "scratchpads"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        for shape in self.shapes:
            if not len(shape.banks) == len(shape.resources) == len(self.buses):
                raise ValueError(f"banks and resources of a shape must be {len(self.buses)}, one for each bus")

    def value(self, cycles: Collection[int]) -> int:
        """Of the objective, from each network's cycles."""
        return max(cycles) if self.worst else sum(cycles)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What is chosen.

    Parameters
    ----------
    shape, bus, scratchpad
        Their numbers among the candidates.
    soft
        Multipliers made of LUTs.
    cycles
        Of each network.
    value, bound
        Of the objective, and what no choice is below.
    proven
        Whether the two are equal.
    """

    shape: int
    bus: int
    scratchpad: int
    soft: int
    cycles: tuple[int, ...]
    value: int
    bound: int
    proven: bool


class InfeasibleError(Exception):
    """No choice fits; ``shortages``: resources of which every choice takes too much. None where only several together do."""

    def __init__(self, shortages: tuple[Shortage, ...]):
        super().__init__("no choice fits the budget")
        self.shortages = shortages


def check(problem: Problem, solution: Solution) -> Solution:
    """Returns ``solution``, recomputed without solver or tables; ``ValueError`` unless it is so."""
    shape, bus = problem.shapes[solution.shape], solution.bus
    banks = shape.banks[bus]
    if not 0 <= solution.soft <= shape.multipliers:
        raise ValueError(f"soft must be in 0..{shape.multipliers} (multipliers), not {solution.soft}")
    whole = shape.resources[bus] + problem.scratchpads[solution.scratchpad][banks]
    for r in RESOURCES:
        used = getattr(whole, r) + solution.soft * getattr(problem.soft, r)
        if r == "dsp":
            used += shape.multipliers - solution.soft
        if used > getattr(problem.budget, r):
            raise ValueError(f"{r} must be at most {getattr(problem.budget, r)}, not {used}")
    cycles = time_of(problem, solution.shape, bus, solution.scratchpad)
    if cycles != solution.cycles:
        raise ValueError(f"cycles must be {cycles}, not {solution.cycles}")
    value = problem.value(cycles)
    if solution.value != value or solution.bound > value or solution.proven != (solution.bound == value):
        raise ValueError(f"value must be {value}, not {solution.value} (bound {solution.bound}, proven {solution.proven})")
    return solution


def time_of(problem: Problem, shape: int, bus: int, scratchpad: int) -> tuple[int, ...]:
    """Cycles of each network; ``ValueError`` where one does not fit the scratchpad."""
    cycles = []
    for network in problem.networks:
        room = network.rooms[scratchpad].get(problem.shapes[shape].banks[bus])
        if room is None:
            raise ValueError(f"scratchpad must be one that every network fits, not {scratchpad}")
        busy = sum(layer.time(shape, bus) for layer in network.layers)
        busy += 0 if room.together else sum(layer.more[shape] for layer in network.layers)
        cycles.append(busy + -(-room.spills // problem.buses[bus]))
    return tuple(cycles)


def without_bus(problem: Problem, bus: int) -> Problem:
    """With that bus alone, and as if constants took no time: where they can come long before their layer they do not."""
    count = len(problem.shapes)

    def free(layer: Layer) -> Layer:
        return replace(layer, beats=((0,),) * count, apart=(False,) * count)

    return replace(
        problem,
        networks=tuple(replace(n, layers=tuple(map(free, n.layers))) for n in problem.networks),
        shapes=tuple(replace(s, banks=(s.banks[bus],), resources=(s.resources[bus],)) for s in problem.shapes),
        buses=(problem.buses[bus],),
    )
