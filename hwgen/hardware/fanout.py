"""ECP5: what reaches many cells comes from several, each near its own.

One cell's way across the device takes longer than a cycle. Its copies have the same inputs, so that the signal still comes and
goes everywhere in the same cycle. (nextpnr would put a wide reset onto a clock's network, which is as slow.)
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import networkx as nx

from .netlist import Bit, Cells

__all__ = ["limit_fanout"]

REGISTERS = 64  #: registers that one cell enables or resets
BLOCKS = 4  #: multipliers or memories that one cell drives: these lie in few rows of the device, far from each other
LOGIC = 16  #: other cells that one register drives; a look-up table drives any number
DRIVERS = {"TRELLIS_FF": "Q", "LUT4": "Z"}
CONTROLS = ("CE", "LSR")
WIDE = ("MULT18X18D", "DP16KD", "PDPW16KD")
Pin = tuple[str, str, int]  #: cell, port, bit of it
Driven = dict[Bit, dict[str, dict[str, list[Pin]]]]  #: bit, kind of pin, cell


def limit_fanout(module: dict[str, Any], registers: int = REGISTERS, blocks: int = BLOCKS, logic: int = LOGIC) -> int:
    """Copy cells that drive too many others, in a module of a netlist in Yosys's JSON, in place: how many are added.

    Cells next to each other, on the device or in the order of their names, which is that of the hierarchy, share a copy. The
    cell itself keeps the logic that reads it, so that both can lie together.
    """
    cells: Cells = module["cells"]
    drivers: dict[Bit, str] = {
        bit: name for name, cell in cells.items() if (pin := DRIVERS.get(cell["type"])) for bit in cell["connections"][pin]
    }
    driven: Driven = defaultdict(lambda: defaultdict(dict))
    for name in cells:
        _note(driven, cells, name)

    def most(kind: str, bit: Bit) -> float:
        if kind == "logic":
            return logic if cells[drivers[bit]]["type"] == "TRELLIS_FF" else float("inf")
        return registers if kind == "control" else blocks

    def wide(bit: Bit) -> bool:
        counts = {kind: len(pins) for kind, pins in driven[bit].items()}
        return sum(counts.values()) > registers or any(count > most(kind, bit) for kind, count in counts.items())

    numbers = [bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits]
    numbers += [bit for net in module.get("netnames", {}).values() for bit in net["bits"]]
    free = 1 + max((bit for bit in numbers if isinstance(bit, int)), default=0)
    added = 0
    for bit in _users_first(cells, drivers, filter(wide, drivers)):
        if not wide(bit):
            continue
        driver = cells[drivers[bit]]
        kinds = sorted(driven[bit], key=lambda kind: (kind != "logic", kind != "control", kind))
        shares = [share for kind in kinds for share in _shares(cells, driven[bit][kind], most(kind, bit))]
        for n, share in enumerate(shares[1:], 1):
            connections = {pin: list(bits) for pin, bits in driver["connections"].items()}
            connections[DRIVERS[driver["type"]]] = [free]
            copy = f"{drivers[bit]}_copy{n}"
            cells[copy] = {**driver, "connections": connections}
            _note(driven, cells, copy)
            for name, pin, place in share:
                cells[name]["connections"][pin][place] = free
            free, added = free + 1, added + 1
    return added


def _note(driven: Driven, cells: Cells, name: str) -> None:
    """The inputs of a cell of that name."""
    cell = cells[name]
    for pin, bits in cell["connections"].items():
        if cell["port_directions"][pin] != "output":
            control = cell["type"] == "TRELLIS_FF" and pin in CONTROLS
            kind = cell["type"] if cell["type"] in WIDE else "control" if control else "logic"
            for place, bit in enumerate(bits):
                driven[bit][kind].setdefault(name, []).append((name, pin, place))


def _users_first(cells: Cells, drivers: dict[Bit, str], wide: Iterable[Bit]) -> Iterator[Bit]:
    """These bits and those that their drivers read, which come later: when all copies that read them are there."""
    graph = nx.DiGraph()
    for bit in wide:
        graph.add_node(bit)
        cell = cells[drivers[bit]]
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                graph.add_edges_from((bit, source) for source in bits if source in drivers)
    parts = nx.condensation(graph)
    for part in nx.topological_sort(parts):
        yield from sorted(parts.nodes[part]["members"])


def _shares(cells: Cells, pins: dict[str, list[Pin]], most: float) -> Iterator[list[Pin]]:
    """The pins of up to ``most`` cells each, in the order of these cells' sites, or else of their names."""
    names = sorted(pins, key=lambda name: (_site(cells[name]), _in_order(name)))
    size = int(min(most, len(names)))
    for k in range(0, len(names), size):
        yield [pin for name in names[k : k + size] for pin in pins[name]]


def _site(cell: dict[str, Any]) -> tuple[int, ...]:
    """Row and column, where they are fixed."""
    found = re.match(r"X(\d+)/Y(\d+)/", cell.get("attributes", {}).get("BEL", ""))
    return (int(found[2]), int(found[1])) if found else ()


def _in_order(name: str) -> list[int | str]:
    """A key that sorts numbers in names by what they are."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
