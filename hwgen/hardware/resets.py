"""ECP5: a reset that reaches thousands of flip-flops comes from many registers, each near its own.

One register's way across the device takes longer than a cycle. Its copies have the same input, so that the reset still comes
and goes everywhere in the same cycle.
"""

from collections import defaultdict
from typing import Any

from .netlist import Bit, Cells

__all__ = ["spread_resets"]

MOST = 128  #: flip-flops that one register resets


def spread_resets(module: dict[str, Any], most: int = MOST) -> int:
    """Copy registers that reset more than ``most`` flip-flops, in a module of a netlist in Yosys's JSON: how many are added.

    Flip-flops next to each other in the order of their names, which is that of the hierarchy, share a copy.
    """
    cells: Cells = module["cells"]
    flip_flops = {name: cell for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    drivers: dict[Bit, str] = {cell["connections"]["Q"][0]: name for name, cell in flip_flops.items()}
    reset: dict[Bit, list[str]] = defaultdict(list)
    for name in sorted(flip_flops):
        bit = flip_flops[name]["connections"]["LSR"][0]
        if bit in drivers:
            reset[bit].append(name)
    numbers = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    free = 1 + max((bit for bit in numbers if isinstance(bit, int)), default=0)
    added = 0
    for bit, sinks in reset.items():
        for start in range(most, len(sinks), most):
            copy = flip_flops[drivers[bit]]
            cells[f"{drivers[bit]}_{start}"] = {**copy, "connections": {**copy["connections"], "Q": [free]}}
            for name in sinks[start : start + most]:
                flip_flops[name]["connections"]["LSR"] = [free]
            free, added = free + 1, added + 1
    return added
