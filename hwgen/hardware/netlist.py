"""Netlists in Yosys's JSON, as plain dictionaries."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

__all__ = ["Bit", "Cells", "Control", "gowin_control", "readers", "trellis_control"]

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


@dataclass(frozen=True)
class Control:
    """What makes a register take its input: a clock, its edge, an enable ("1": always)."""

    clock: Bit
    edge: str
    enable: Bit


def trellis_control(cell: dict[str, Any]) -> Control | None:
    """Of an ECP5 flip-flop (TRELLIS_FF) that is 0 at first and neither set nor reset; None for any other cell."""
    if cell["type"] != "TRELLIS_FF":
        return None
    parameters, nets = cell["parameters"], cell["connections"]
    enabled = parameters.get("CEMUX", "CE").strip()  # Yosys writes "1 ", as "1" would be a number
    if parameters.get("REGSET", "RESET") != "RESET" or nets["LSR"] != ["0"] or enabled not in ("CE", "1"):
        return None
    return Control(nets["CLK"][0], parameters.get("CLKMUX", "CLK"), "1" if enabled == "1" else nets["CE"][0])


def gowin_control(cell: dict[str, Any]) -> Control | None:
    """Of a Gowin flip-flop (DFF, DFFE) that is 0 at first, neither set nor reset; None for any other cell."""
    if cell["type"] not in ("DFF", "DFFE") or int(cell["parameters"].get("INIT", "0"), 2):
        return None
    nets = cell["connections"]
    return Control(nets["CLK"][0], "CLK", nets["CE"][0] if cell["type"] == "DFFE" else "1")
