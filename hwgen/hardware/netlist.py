"""Netlists in Yosys's JSON, as plain dictionaries."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

__all__ = ["Bit", "Cells", "Control", "control_of", "readers"]

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


def control_of(flip_flop: dict[str, Any]) -> Control | None:
    """Of an ECP5 flip-flop (TRELLIS_FF) that is 0 at first and neither set nor reset; None for any other."""
    parameters, nets = flip_flop["parameters"], flip_flop["connections"]
    enabled = parameters.get("CEMUX", "CE").strip()  # Yosys writes "1 ", as "1" would be a number
    if parameters.get("REGSET", "RESET") != "RESET" or nets["LSR"] != ["0"] or enabled not in ("CE", "1"):
        return None
    return Control(nets["CLK"][0], parameters.get("CLKMUX", "CLK"), "1" if enabled == "1" else nets["CE"][0])
