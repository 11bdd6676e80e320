"""ECP5: where multipliers and block memories go, so that what belongs together lies together.

Where most of them are used, nextpnr's placers leave the last ones what is left, at the other end of the device. Here they are
assigned to their sites all at once, in turns: the ideal position of each, where all cells pull each other together (a quadratic
placement, weighted so that lengths of wires count: Spindler, Schlichtmann, Johannes, "Kraftwerk2", IEEE TCAD 2008); then
the assignment of sites with the shortest way from these positions, which is exact. From turn to turn a cell's site pulls more
strongly at it. Other plans have the multipliers of each module side by side, which these turns do not find. The plan with the
shortest wires counts. nextpnr places the other cells around them.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ilp.sites import nearest_sites
from .netlist import Bit, Cells

__all__ = ["SITES", "Site", "floorplan"]

WIDE = 200  #: cells that a net reaches at most, if it is to pull: not clocks and resets
TURNS = 34
PULL, GROWTH = 0.001, 1.25  #: of a site, for each that pulls at its cell: at first, and from turn to turn
STEPS = 400  #: of averaging with the neighbours, for the first positions
TINY = 1e-5  #: pull towards the middle, for what nothing else holds
FIXED = 1e4  #: pull of a site at a cell that is there


@dataclass(frozen=True)
class Site:
    """A place for a cell: column, row, and nextpnr's name for it."""

    x: int
    y: int
    name: str

    @property
    def bel(self) -> str:
        return f"X{self.x}/Y{self.y}/{self.name}"


def _rows(name: str, rows: tuple[int, ...], parts: dict[int, int]) -> tuple[Site, ...]:
    """Blocks side by side in rows across the device; ``parts``: sites of a block, their distance from its first column."""
    blocks = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
    return tuple(Site(x + step, y, f"{name}{part}") for y in rows for x in blocks for part, step in parts.items())


#: Of devices, for each type of cell; as nextpnr-ecp5 numbers tiles.
SITES = {
    "LFE5U-85F": {
        "MULT18X18D": _rows("MULT18_", (10, 34, 58), {0: 0, 1: 1, 4: 4, 5: 5}),
        "DP16KD": _rows("EBR", (22, 46, 70, 82), {0: 0, 1: 2, 2: 4, 3: 6}),
    }
}
MULTIPLIER = "MULT18X18D"
KINDS = {"PDPW16KD": "DP16KD"}  #: another name for a cell of these sites


def floorplan(module: dict[str, Any], sites: dict[str, tuple[Site, ...]]) -> float:
    """Fix multipliers and memories, in a module of a netlist in Yosys's JSON, in place.

    Nothing happens where there are more of a kind than sites: nextpnr will say so.

    Returns
    -------
    Length of the wires, weighted, in tiles: 0 if nothing happened.
    """
    cells: Cells = module["cells"]
    kinds: dict[str, list[str]] = {kind: [] for kind in sites}
    for name, cell in cells.items():
        if (kind := KINDS.get(cell["type"], cell["type"])) in kinds:
            kinds[kind].append(name)
    if not any(kinds.values()) or any(len(names) > len(sites[kind]) for kind, names in kinds.items()):
        return 0.0
    graph = _Graph(cells, {name for names in kinds.values() for name in names})
    blocks = [np.array([graph.number[name] for name in names], np.int64) for names in kinds.values()]
    places = [np.array([(site.x, site.y) for site in sites[kind]], float) for kind in kinds]
    modules = [name.rpartition(".")[0] for name in kinds.get(MULTIPLIER, [])]
    best, length = _assigned(graph, blocks, places, list(kinds).index(MULTIPLIER) if modules else None, modules)
    for (kind, names), chosen in zip(kinds.items(), best, strict=True):
        for name, place in zip(names, chosen, strict=True):
            cells[name].setdefault("attributes", {})["BEL"] = sites[kind][place].bel
    return length


def _assigned(
    graph: "_Graph", blocks: list[np.ndarray], places: list[np.ndarray], multipliers: int | None, modules: list[str]
) -> tuple[list[np.ndarray], float]:
    """For each kind of block the sites of its cells, and the length of the wires then.

    ``multipliers``: which kind they are, if there are any, with the module of each.
    """
    size = np.max(np.concatenate(places), axis=0)
    first = graph.first_positions()
    found = [_in_turns(graph, blocks, places, start * size, {}) for start in (first, first[:, ::-1])]
    if multipliers is not None:
        for order in first.T:
            sites = _side_by_side(modules, order[blocks[multipliers]], places[multipliers])
            found.append(_in_turns(graph, blocks, places, first * size, {multipliers: sites}))
    return min(found, key=lambda result: result[1])


def _side_by_side(modules: list[str], order: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Sites of the cells of these modules, whose mean numbers in ``order`` say which module comes first.

    They go along the rows of sites, there and back.
    """
    rows = [np.flatnonzero(places[:, 1] == y) for y in np.unique(places[:, 1])]
    along = np.concatenate([row[np.argsort(places[row, 0] * (-1) ** k)] for k, row in enumerate(rows)])
    names, which = np.unique(np.array(modules), return_inverse=True)
    means = np.bincount(which, order, len(names)) / np.bincount(which)
    sites = np.empty(len(modules), np.int64)
    sites[np.lexsort((which, means[which]))] = along[: len(modules)]
    return sites


def _in_turns(
    graph: "_Graph", blocks: list[np.ndarray], places: list[np.ndarray], position: np.ndarray, given: dict[int, np.ndarray]
) -> tuple[list[np.ndarray], float]:
    """The same, beginning with cells at ``position``; ``given``: the sites of some kinds."""
    middle = np.max(np.concatenate(places), axis=0) / 2
    best: tuple[list[np.ndarray], float] = [], np.inf
    for turn in range(TURNS):
        chosen = [
            given[kind] if kind in given else nearest_sites(position[cells], where)
            for kind, (cells, where) in enumerate(zip(blocks, places, strict=True))
        ]
        goal = np.broadcast_to(middle, position.shape).copy()
        for cells, where, sites in zip(blocks, places, chosen, strict=True):
            goal[cells] = where[sites]
        pull = np.full(len(position), TINY)
        pull[np.concatenate(blocks)] = FIXED
        there = graph.pulled(position, pull, goal)
        length = graph.length(there)
        if length < best[1]:
            best = chosen, length
        for kind, cells in enumerate(blocks):
            if kind not in given:
                pull[cells] = TINY + PULL * GROWTH**turn * graph.degrees[cells]
        position = graph.pulled(there, pull, goal)
    return best


class _Graph:
    """Which groups of cells pull at each other: ends of the edges and their weights.

    A group is a multiplier, a memory, or what makes the bits of one signal. Of a net with n readers each pulls with 1/√n.

    Members
    -------
    number : of the groups, by the names of cells
    degrees : the sum of the weights at each
    """

    def __init__(self, cells: Cells, single: set[str]):
        names = {name: name if name in single else _signal(name) for name in cells}
        groups = {group: k for k, group in enumerate(dict.fromkeys(names.values()))}
        self.number = {name: groups[group] for name, group in names.items()}
        drivers: dict[Bit, int] = {}
        readers: dict[Bit, set[int]] = defaultdict(set)
        for name, cell in cells.items():
            for pin, bits in cell["connections"].items():
                for bit in bits:
                    if isinstance(bit, str):
                        continue
                    if cell["port_directions"].get(pin) == "output":
                        drivers[bit] = self.number[name]
                    else:
                        readers[bit].add(self.number[name])
        weights: dict[tuple[int, int], float] = defaultdict(float)
        for bit, driver in drivers.items():
            others = readers[bit] - {driver}
            if len(others) <= WIDE:
                for other in others:
                    weights[min(driver, other), max(driver, other)] += len(others) ** -0.5
        ends = np.array(sorted(weights), np.int64).reshape(-1, 2)
        self.one, self.other = ends.T
        self.weights = np.array([weights[one, other] for one, other in ends.tolist()], float)
        self.count = len(groups)
        self.degrees = self._sums(self.weights, self.weights)

    def _sums(self, at_one: np.ndarray, at_other: np.ndarray) -> np.ndarray:
        """Of values of edges, at the groups that these join."""
        return np.bincount(self.one, at_one, self.count) + np.bincount(self.other, at_other, self.count)

    def first_positions(self) -> np.ndarray:
        """(groups, 2), within 0..1: the two smoothest functions on the graph that differ, evened out to ranks."""
        weights = np.maximum(self.degrees, 1e-9)
        functions = np.random.default_rng(0).normal(size=(3, self.count))
        functions[0] = 1
        for _ in range(STEPS):
            for k, f in enumerate(functions):
                mean = self._sums(self.weights * f[self.other], self.weights * f[self.one]) / weights
                functions[k] = (f + mean) / 2 if k else 1
            for k in (1, 2):
                for g in functions[:k]:
                    functions[k] -= (functions[k] * weights @ g) / (g * weights @ g) * g
                functions[k] /= np.sqrt(functions[k] ** 2 @ weights) + 1e-300
        ranks = np.argsort(np.argsort(functions[1:], axis=1, kind="stable"), axis=1, kind="stable")
        return (ranks.T + 0.5) / self.count

    def length(self, position: np.ndarray) -> float:
        return float(self.weights @ np.abs(position[self.one] - position[self.other]).sum(1))

    def pulled(self, position: np.ndarray, pull: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Where groups come to rest that pull at each other as at ``position``, and are pulled to their goals.

        A wire's length counts, not its square: the longer it is the less it weighs. Below a tile it does not matter.
        """
        ways = np.maximum(np.abs(position[self.one] - position[self.other]), 1)
        return np.stack([self._rest(self.weights / ways[:, k], pull, goal[:, k], position[:, k]) for k in (0, 1)], axis=1)

    def _rest(self, weights: np.ndarray, pull: np.ndarray, goal: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Solve ``(Laplacian + pull) x = pull · goal`` by conjugate gradients, scaled by the diagonal."""
        diagonal = self._sums(weights, weights) + pull

        def apply(x: np.ndarray) -> np.ndarray:
            return diagonal * x - self._sums(weights * x[self.other], weights * x[self.one])

        x = start.copy()
        residual = pull * goal - apply(x)
        step = scaled = residual / diagonal
        power = residual @ scaled
        enough = 1e-8 * ((pull * goal) @ (pull * goal / diagonal))
        for _ in range(300):
            if power <= enough:
                break
            applied = apply(step)
            rate = power / (step @ applied)
            x += rate * step
            residual = residual - rate * applied
            scaled = residual / diagonal
            power, before = residual @ scaled, power
            step = scaled + power / before * step
        return x


def _signal(name: str) -> tuple[str, int]:
    """The signal that a cell is named after, and which byte of it."""
    signal = re.split(r"_(?:LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS)", name, maxsplit=1)[0]
    number = re.search(r"_(\d+)$", name)
    return signal, int(number[1]) // 8 if number else 0
