"""ECP5: an enable or reset that reaches thousands of registers comes from several cells, each near its own.

One cell's way across the device takes longer than a cycle. Its copies have the same inputs, so that the signal still comes and
goes everywhere in the same cycle. (nextpnr would put a wide reset onto a clock's network, which is as slow.) The cell itself
keeps the logic that reads it, so that both can lie together.
"""

import re
from collections import defaultdict
from typing import Any

from .netlist import Bit, Cells

__all__ = ["spread_controls"]

MOST = 64  #: pins of registers that one cell drives
FEW = 8  #: pins of multipliers and memories, which lie in few rows of the device, far from each other
READ = "read"  #: by logic, or as data
DRIVERS = {"TRELLIS_FF": "Q", "LUT4": "Z"}
Pin = tuple[str, str, int]  #: cell, port, bit of it
_MEMORY = ("CEA", "CEB", "OCEA", "OCEB")
PINS = {"TRELLIS_FF": ("CE", "LSR"), "MULT18X18D": ("CE0", "CE1", "CE2", "CE3"), "DP16KD": _MEMORY, "PDPW16KD": _MEMORY}


def spread_controls(module: dict[str, Any], most: int = MOST, few: int = FEW) -> int:
    """Copy cells that drive more than ``most`` pins, in a module of a netlist in Yosys's JSON, in place: how many are added.

    Pins next to each other in the order of their cells' names, which is that of the hierarchy, share a copy: up to ``most`` of
    registers, up to ``few`` of multipliers or of memories.
    """
    cells: Cells = module["cells"]
    drivers: dict[Bit, str] = {
        bit: name for name, cell in cells.items() if (pin := DRIVERS.get(cell["type"])) for bit in cell["connections"][pin]
    }
    driven: dict[Bit, dict[str, list[Pin]]] = defaultdict(lambda: defaultdict(list))  # by what the pins are of
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                kind = cell["type"] if pin in PINS.get(cell["type"], ()) else READ
                for place, bit in enumerate(bits):
                    if bit in drivers:
                        driven[bit][kind].append((name, pin, place))
    numbers = [bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits]
    numbers += [bit for net in module.get("netnames", {}).values() for bit in net["bits"]]
    free = 1 + max((bit for bit in numbers if isinstance(bit, int)), default=0)
    added = 0
    for bit in sorted(drivers, key=lambda bit: _resets(cells, driven[bit])):
        sizes = {kind: most if kind in (READ, "TRELLIS_FF") else few for kind in driven[bit]}
        every = sum(map(len, driven[bit].values()))
        if every <= most and all(len(driven[bit][kind]) <= size for kind, size in sizes.items()):
            continue
        kinds = sorted(sizes, key=lambda kind: (kind != READ, sizes[kind] != most))  # what reads it keeps the cell itself
        pins = {kind: sorted(driven[bit][kind], key=lambda pin: _in_order(pin[0])) for kind in kinds}
        shares = [pins[kind][k : k + sizes[kind]] for kind in kinds for k in range(0, len(pins[kind]), sizes[kind])]
        for n, share in enumerate(shares[1:], 1):
            original = cells[drivers[bit]]
            connections = {pin: list(bits) for pin, bits in original["connections"].items()}
            connections[DRIVERS[original["type"]]] = [free]
            copy = f"{drivers[bit]}_copy{n}"
            cells[copy] = {**original, "connections": connections}
            for pin in PINS.get(original["type"], ()):
                for place, source in enumerate(connections.get(pin, ())):
                    driven[source][original["type"]].append((copy, pin, place))
            for name, pin, place in share:
                cells[name]["connections"][pin][place] = free
            free, added = free + 1, added + 1
    return added


def _resets(cells: Cells, pins: dict[str, list[Pin]]) -> bool:
    """Whether one of the pins is a reset: such signals come last, when the registers that they reset have their copies."""
    return any(pin == "LSR" for _, pin, _ in pins.get("TRELLIS_FF", ()))


def _in_order(name: str) -> list[int | str]:
    """A key that sorts numbers in names by what they are."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
