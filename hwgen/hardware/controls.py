"""ECP5: an enable or reset that reaches thousands of registers comes from several cells, each near its own.

One cell's way across the device takes longer than a cycle. Its copies have the same inputs, so that the signal still comes and
goes everywhere in the same cycle. (nextpnr would put a wide reset onto a clock's network, which is as slow.) The cell itself
keeps the logic that reads it, so that both can lie together.
"""

from collections import defaultdict
from typing import Any

from .netlist import Bit, Cells

__all__ = ["spread_controls"]

MOST = 64  #: pins that one cell drives
DRIVERS = {"TRELLIS_FF": "Q", "LUT4": "Z"}
Pin = tuple[str, str, int]  #: cell, port, bit of it
_MEMORY = ("CEA", "CEB", "OCEA", "OCEB")
PINS = {"TRELLIS_FF": ("CE", "LSR"), "MULT18X18D": ("CE0", "CE1", "CE2", "CE3"), "DP16KD": _MEMORY, "PDPW16KD": _MEMORY}


def spread_controls(module: dict[str, Any], most: int = MOST) -> int:
    """Copy cells that drive more than ``most`` pins, in a module of a netlist in Yosys's JSON, in place: how many are added.

    Pins next to each other in the order of their cells' names, which is that of the hierarchy, share a copy.
    """
    cells: Cells = module["cells"]
    drivers: dict[Bit, str] = {
        bit: name for name, cell in cells.items() if (pin := DRIVERS.get(cell["type"])) for bit in cell["connections"][pin]
    }
    controlled: dict[Bit, list[Pin]] = defaultdict(list)
    read: dict[Bit, list[Pin]] = defaultdict(list)
    for name in sorted(cells):
        cell = cells[name]
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                by_bit = controlled if pin in PINS.get(cell["type"], ()) else read
                for place, bit in enumerate(bits):
                    if bit in drivers:
                        by_bit[bit].append((name, pin, place))
    numbers = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    free = 1 + max((bit for bit in numbers if isinstance(bit, int)), default=0)
    added = 0
    for bit in [bit for bit in drivers if len(controlled[bit]) + len(read[bit]) > most]:
        shares = [pins[start : start + most] for pins in (read[bit], controlled[bit]) for start in range(0, len(pins), most)]
        for n, pins in enumerate(shares[1:], 1):
            original = cells[drivers[bit]]
            connections = {pin: list(bits) for pin, bits in original["connections"].items()}
            connections[DRIVERS[original["type"]]] = [free]
            cells[f"{drivers[bit]}_copy{n}"] = {**original, "connections": connections}
            for name, pin, place in pins:
                cells[name]["connections"][pin][place] = free
            free, added = free + 1, added + 1
    return added
