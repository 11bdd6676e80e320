"""Netlists in Yosys's JSON, as plain dictionaries."""

from collections import Counter
from typing import Any

__all__ = ["Bit", "Cells", "readers"]

Bit = int | str  #: a net's number, or "0", "1", "x"
Cells = dict[str, dict[str, Any]]  #: of a module, by name


def readers(module: dict[str, Any]) -> Counter[Bit]:
    """How many inputs of cells, and outputs of the module, each net feeds."""
    count: Counter[Bit] = Counter()
    for port in module["ports"].values():
        if port["direction"] != "input":
            count.update(port["bits"])
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"].get(port) != "output":
                count.update(bits)
    return count
