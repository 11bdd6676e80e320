"""What engines could be made for some networks, and the cycles of each layer on them, as tables for the solver."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..cost import Memories, Resources
from ..errors import HwgenError
from ..graph import AveragePool, Conv, GlobalAveragePool, Graph, Linear, MatMul, Softmax
from ..ilp.engine import Layer, Network, Problem, Room, Shape, Solution
from .engine import Engine, banks_of
from .places import Placed, unplaced
from .resources import SOFT, constants, image_resources, logic, scratchpad_resources
from .schedule import arrangement, groups, schedule
from .work import LANES, TAPS, Work, work_of

__all__ = ["BUSES", "Candidates", "Limits", "candidates"]

BUSES = (4, 8, 16, 32)
LEAST, LARGEST = 1 << 12, 1 << 24  #: bytes of a scratchpad
MOST = 255  #: rows or columns
SUMS = 2048  #: entries, at most
PORTION = 4  #: tiles that the memory of weights has room for at least


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is chosen of.

    Parameters
    ----------
    multipliers
        At most so many.
    array
        (rows, columns); None: any.
    lanes
        To choose from.
    buses
        Bytes.
    scratchpad
        Bytes; None: a power of two.
    on_chip
        Whether external memory takes block RAM.
    bands
        Whether memories may be so small that tensors pass through the scratchpad in bands, and sums are made in portions.
    """

    multipliers: int
    array: tuple[int, int] | None = None
    lanes: tuple[int, ...] = LANES
    buses: tuple[int, ...] = BUSES
    scratchpad: int | None = None
    on_chip: bool = False
    bands: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """A problem, and what its shapes and scratchpads are.

    Parameters
    ----------
    engines
        Of each shape, but for the bus and the scratchpad.
    sizes
        Bytes of each scratchpad.
    """

    problem: Problem
    engines: list[Engine]
    sizes: list[int]

    def engine(self, solution: Solution) -> Engine:
        """That has been chosen."""
        bus, scratchpad = self.problem.buses[solution.bus], self.sizes[solution.scratchpad]
        return replace(self.engines[solution.shape], bus=bus, soft=solution.soft, scratchpad=scratchpad)


def candidates(
    graphs: Sequence[Graph], limits: Limits, budget: Resources, memories: Memories, *, worst: bool = False
) -> Candidates:
    """All arrays but those that are no better for any layer than one with a row or a column less, each with several memories.

    ``HwgenError`` where a network fits no scratchpad.
    """
    rows, columns = _arrays(limits)
    works = [work_of(graph, rows, columns) for graph in graphs]
    if limits.array is None:
        kept = _undominated(works, rows, columns)
        rows, columns = rows[kept], columns[kept]
        works = [[w.at(kept) for w in work] for work in works]
    least = np.stack([w.part for work in works for w in work]).max(0)
    engines = [
        (a, engine)
        for a, (r, c) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True))
        for engine in _with_memories(graphs, r, c, int(least[a]), limits, budget.dsp)
    ]
    arrays, made = np.array([a for a, _ in engines]), [engine for _, engine in engines]
    banks = [tuple(banks_of(e.rows, e.columns, e.lanes, bus) for bus in limits.buses) for e in made]
    widths = sorted({w for row in banks for w in row})
    rooms = _rooms(graphs, made[0], limits, widths)
    images = _images(graphs, works, columns, limits, memories)
    held = [constants(e, memories) for e in made]
    problem = Problem(
        networks=tuple(
            Network(
                layers=tuple(_layers(work, arrays, made, columns, limits.buses)), rooms=tuple(row[n] for row in rooms.values())
            )
            for n, work in enumerate(works)
        ),
        shapes=tuple(
            Shape(
                array=a,
                multipliers=e.rows * e.columns,
                banks=own,
                resources=tuple(logic(e, bus) + own_memory + image for bus, image in zip(limits.buses, images[a], strict=True)),
            )
            for (a, e), own, own_memory in zip(engines, banks, held, strict=True)
        ),
        buses=limits.buses,
        scratchpads=tuple({w: scratchpad_resources(w, size, memories) for w in widths} for size in rooms),
        soft=SOFT,
        budget=budget,
        worst=worst,
    )
    return Candidates(problem=problem, engines=made, sizes=list(rooms))


def _images(
    graphs: Sequence[Graph], works: Sequence[Sequence[Work]], columns: np.ndarray, limits: Limits, memories: Memories
) -> list[list[Resources]]:
    """What external memory takes on chip, for each array and bus."""
    if not limits.on_chip:
        return [[Resources()] * len(limits.buses)] * len(columns)
    beats = []
    for bus in limits.buses:
        ends = sum(-(-graph.tensors[name].elements // bus) for graph in graphs for name in (graph.input, graph.output))
        beats.append(ends + np.stack([w.image(columns, bus) for work in works for w in work]).sum(0))
    return [
        [image_resources(int(n[a]), bus, memories) for n, bus in zip(beats, limits.buses, strict=True)]
        for a in range(len(columns))
    ]


def _arrays(limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all arrays, row by row."""
    if limits.array:
        return np.array([limits.array[0]]), np.array([limits.array[1]])
    rows, columns = (grid.ravel() + 1 for grid in np.indices((min(MOST, limits.multipliers),) * 2))
    fit = rows * columns <= limits.multipliers
    return rows[fit], columns[fit]


def _undominated(works: Sequence[Sequence[Work]], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Numbers of arrays that are better in some figure than those with a row or a column less."""
    number = np.full((rows.max() + 1, columns.max() + 1), -1)
    number[rows, columns] = np.arange(len(rows))
    kept = np.ones(len(rows), bool)
    for less in (number[rows - 1, columns], number[rows, columns - 1]):
        worse = less >= 0
        for work in works:
            for w in work:
                for figures in (w.array, *w.vector, *(w.beats(columns, bus) for bus in BUSES), w.part):
                    worse &= figures[less] <= figures
        kept &= ~worse
    return np.flatnonzero(kept)


def _with_memories(graphs: Sequence[Graph], rows: int, columns: int, least: int, limits: Limits, dsps: int) -> Iterator[Engine]:
    """Engines of an array: weights for twice the largest part, so that the next one comes meanwhile, or for just one."""
    entries, scales, positions = 1, 1, 1
    softmax = any(isinstance(node, Softmax) for graph in graphs for node in graph.nodes)
    for graph in graphs:
        for node in graph.nodes:
            if isinstance(node, MatMul):
                positions, entries = max(positions, graph.tensors[node.output].shape[0]), max(entries, node.depth + 2 * rows)
            elif isinstance(node, Linear | GlobalAveragePool | AveragePool):
                height, width, channels = graph.tensors[node.output].shape
                positions = max(positions, height * width)
                scales = max(scales, channels)
                source = graph.tensors[node.inputs[0]].elements // channels
                taken = node.weights[0].size if isinstance(node, Linear) else source
                if isinstance(node, AveragePool):
                    taken = node.kernel[0] * node.kernel[1]
                kernel = node.kernel[0] if isinstance(node, Conv | AveragePool) else 1
                entries = max(entries, taken + 2 * kernel * rows)
    parts = -(-scales // columns)
    weights, sums = _power(2 * entries), min(SUMS, _power(2 * max(positions, 4 * rows)))
    depths = [weights] + [weights // 2] * (weights // 2 >= least)
    if limits.bands:
        depths += [depth for k in range(2, 8) if (depth := weights >> k) >= max(PORTION * rows, LEAST // columns)]
    for lanes in limits.lanes:
        each = _power(2 * (scales + parts * (lanes - 1)) + lanes)
        for depth in depths:
            for held in (sums, sums // 2) if sums // 2 >= 8 * rows else (sums,):
                engine = Engine(
                    rows=rows, columns=columns, taps=min(TAPS, rows), lanes=lanes, digit=16, bus=limits.buses[0],
                    scratchpad=LARGEST, weights=depth, sums=held, scales=each, softmax=softmax,
                )  # fmt: skip
                yield replace(engine, soft_lanes=engine.lane_dsps > dsps)


def _layers(
    work: Sequence[Work], arrays: np.ndarray, engines: Sequence[Engine], columns: np.ndarray, buses: Sequence[int]
) -> Iterator[Layer]:
    lanes = np.array([LANES.index(e.lanes) for e in engines])
    depth = np.array([e.weights for e in engines])
    for w in work:
        beats = np.stack([w.beats(columns, bus)[arrays] for bus in buses], axis=1)
        yield Layer(
            cycles=tuple(np.maximum(w.array[arrays], w.vector[lanes, arrays]).tolist()),
            beats=tuple(map(tuple, beats.tolist())),
            apart=tuple((2 * w.part[arrays] > depth).tolist()),
            more=tuple(w.after[lanes, arrays].tolist()),
        )


def _rooms(graphs: Sequence[Graph], engine: Engine, limits: Limits, widths: Sequence[int]) -> dict[int, list[dict[int, Room]]]:
    """Of each scratchpad's size, for each graph: what there is room for, by the number of banks."""
    powers = tuple(1 << k for k in range(LEAST.bit_length() - 1, LARGEST.bit_length()))
    sizes = (limits.scratchpad,) if limits.scratchpad else powers
    found: dict[int, list[dict[int, Room]]] = {}
    for size in sizes:
        rows = [_fitting(graph, replace(engine, scratchpad=size), widths, limits.bands) for graph in graphs]
        if set.intersection(*map(set, rows)):
            found[size] = rows
            if all(len(row) == len(widths) and all(r.together and not r.spills for r in row.values()) for row in rows):
                break  # a larger one changes nothing
    if not found:
        for graph in graphs:
            arrangement(graph, replace(engine, scratchpad=sizes[-1]), _places(graph))  # says what it needs
        raise HwgenError(f"no scratchpad of {sizes[-1]} bytes holds what the networks need; use --style dataflow")
    return found


def _fitting(graph: Graph, engine: Engine, widths: Sequence[int], in_bands: bool) -> dict[int, Room]:
    """What there is room for, by the number of banks."""
    found = {}
    for width in widths:
        if engine.scratchpad % width == 0:
            try:
                banked = replace(engine, rows=width, columns=width, lanes=1, bus=4)
                if in_bands:
                    plan = arrangement(graph, banked, _places(graph))
                    made, spills = plan.groups, plan.moved(banked)
                else:
                    made, best = schedule(graph, banked, _places(graph))
                    spills = best.external_bytes * width
            except HwgenError:
                continue
            found[width] = Room(spills=spills, together=len(made) == len(groups(graph)))
    return found


def _places(graph: Graph) -> dict[str, Placed]:
    return {name: unplaced(graph, name) for name in graph.tensors}


def _power(n: int) -> int:
    return 1 << (n - 1).bit_length()
