"""ECP5: an enable or reset that reaches thousands of registers comes from several cells, each near its own.

One cell's way across the device takes longer than a cycle. Its copies have the same inputs, so that the signal still comes and
goes everywhere in the same cycle. (nextpnr would put a wide reset onto a clock's network, which is as slow.)
"""

from collections import defaultdict
from typing import Any

from .netlist import Bit, Cells

__all__ = ["spread_controls"]

MOST = 128  #: pins that one cell controls
DRIVERS = {"TRELLIS_FF": "Q", "LUT4": "Z"}
_MEMORY = ("CEA", "CEB", "OCEA", "OCEB")
PINS = {"TRELLIS_FF": ("CE", "LSR"), "MULT18X18D": ("CE0", "CE1", "CE2", "CE3"), "DP16KD": _MEMORY, "PDPW16KD": _MEMORY}


def spread_controls(module: dict[str, Any], most: int = MOST) -> int:
    """Copy cells that control more than ``most`` pins, in a module of a netlist in Yosys's JSON, in place: how many are added.

    Registers next to each other in the order of their names, which is that of the hierarchy, share a copy.
    """
    cells: Cells = module["cells"]
    drivers: dict[Bit, str] = {
        bit: name for name, cell in cells.items() if (pin := DRIVERS.get(cell["type"])) for bit in cell["connections"][pin]
    }
    controlled: dict[Bit, list[tuple[str, str]]] = defaultdict(list)
    for name in sorted(cells):
        for pin in PINS.get(cells[name]["type"], ()):
            for bit in cells[name]["connections"].get(pin, ()):
                if bit in drivers:
                    controlled[bit].append((name, pin))
    numbers = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    free = 1 + max((bit for bit in numbers if isinstance(bit, int)), default=0)
    added = 0
    for bit, pins in controlled.items():
        for start in range(most, len(pins), most):
            original = cells[drivers[bit]]
            connections = {**original["connections"], DRIVERS[original["type"]]: [free]}
            cells[f"{drivers[bit]}_copy{start // most}"] = {**original, "connections": connections}
            for name, pin in pins[start : start + most]:
                cells[name]["connections"][pin] = [free]
            free, added = free + 1, added + 1
    return added
