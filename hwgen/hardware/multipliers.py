"""ECP5: registers around a multiplier move into the multiplier.

A MULT18X18D (Lattice FPGA-TN-02205, "ECP5 and ECP5-5G sysDSP usage guide") has registers for its operands and its product.
Yosys infers it without them; the way from a flip-flop to the multiplier, through it and on to a flip-flop is then the longest
of a design.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from .netlist import Bit, Cells, Control, control_of, readers

__all__ = ["Absorbed", "absorb_registers"]

BITS = {"INPUTA": ("A", 18), "INPUTB": ("B", 18), "OUTPUT": ("P", 36)}  #: registers, their ports and widths
ENABLES = 4  #: that the multipliers of a block share


@dataclass(frozen=True, kw_only=True)
class Absorbed:
    """What :func:`absorb_registers` did.

    Parameters
    ----------
    registers
        Of operands and products that are in multipliers now.
    left
        Operands and products that have none there.
    flip_flops
        Saved.
    """

    registers: int
    left: int
    flip_flops: int


@dataclass(frozen=True)
class _Register:
    """A register that can move: its control, what each pin of the multiplier is connected to then, its flip-flops."""

    control: Control
    pins: dict[str, Bit]
    flip_flops: frozenset[str]


def absorb_registers(module: dict[str, Any]) -> Absorbed:
    """Move registers into multipliers, in a module of a netlist in Yosys's JSON, in place.

    An operand's moves if every bit comes from a flip-flop or is 0, all of one clock and enable, without set or reset; where
    others read the flip-flops too, these stay for them. A product's moves if all of its bits that are read go to such
    flip-flops and nowhere else. Registers of a multiplier have one control, that of most of them.
    """
    cells: Cells = module["cells"]
    flip_flops = {name: cell for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    multipliers = [cell for cell in cells.values() if cell["type"] == "MULT18X18D"]
    drivers = {cell["connections"]["Q"][0]: name for name, cell in flip_flops.items()}
    sinks = {cell["connections"]["DI"][0]: name for name, cell in flip_flops.items()}
    count = readers(module)
    enables: dict[Bit, int] = {}
    moved = 0
    for multiplier in multipliers:
        registers = {
            "INPUTA": _operand(multiplier, "INPUTA", flip_flops, drivers),
            "INPUTB": _operand(multiplier, "INPUTB", flip_flops, drivers),
            "OUTPUT": _product(multiplier, flip_flops, sinks, count),
        }
        controls = Counter(r.control for r in registers.values() if r is not None)
        if not controls:
            continue
        control = controls.most_common(1)[0][0]
        index = enables.setdefault(control.enable, len(enables) % ENABLES)
        for name, register in registers.items():
            if register is not None and register.control == control:
                for pin, bit in register.pins.items():
                    if name != "OUTPUT":
                        count[multiplier["connections"][pin][0]] -= 1
                        count[bit] += 1
                    multiplier["connections"][pin] = [bit]
                if name == "OUTPUT":
                    for flip_flop in register.flip_flops:
                        del cells[flip_flop]
                _switch_on(multiplier, name, control, index)
                moved += 1
    for bit, name in drivers.items():
        if name in cells and not count[bit]:
            del cells[name]
    gone = sum(name not in cells for name in flip_flops)
    return Absorbed(registers=moved, left=3 * len(multipliers) - moved, flip_flops=gone)


def _operand(multiplier: dict[str, Any], name: str, flip_flops: Cells, drivers: dict[Bit, str]) -> _Register | None:
    port, width = BITS[name]
    pins: dict[str, Bit] = {}
    found = set()
    for pin in (f"{port}{k}" for k in range(width)):
        bit = multiplier["connections"][pin][0]
        if bit == "0":
            continue
        if bit not in drivers:
            return None
        found.add(drivers[bit])
        pins[pin] = flip_flops[drivers[bit]]["connections"]["DI"][0]
    return _register(pins, found, flip_flops)


def _product(multiplier: dict[str, Any], flip_flops: Cells, sinks: dict[Bit, str], count: Counter[Bit]) -> _Register | None:
    port, width = BITS["OUTPUT"]
    pins: dict[str, Bit] = {}
    found = set()
    for pin in (f"{port}{k}" for k in range(width)):
        bit = multiplier["connections"][pin][0]
        if not count[bit]:
            continue
        if count[bit] != 1 or bit not in sinks:
            return None
        found.add(sinks[bit])
        pins[pin] = flip_flops[sinks[bit]]["connections"]["Q"][0]
    return _register(pins, found, flip_flops)


def _register(pins: dict[str, Bit], found: set[str], flip_flops: Cells) -> _Register | None:
    controls = {control_of(flip_flops[name]) for name in found}
    control = controls.pop() if len(controls) == 1 else None
    return None if control is None else _Register(control, pins, frozenset(found))


def _switch_on(multiplier: dict[str, Any], name: str, control: Control, index: int) -> None:
    """Register ``name`` of the multiplier takes its input on clock 0 with enable ``index``; reset 0 is never given."""
    parameters, nets = multiplier["parameters"], multiplier["connections"]
    parameters |= {f"REG_{name}_CLK": "CLK0", f"REG_{name}_CE": f"CE{index}", f"REG_{name}_RST": "RST0"}
    parameters |= {"CLK0MUX": control.edge.replace("CLK", "CLK0"), "GSR": "DISABLED", "RESETMODE": "SYNC"}
    for pin, bit in (("CLK0", control.clock), (f"CE{index}", control.enable), ("RST0", "0")):
        nets[pin] = [bit]
        multiplier["port_directions"][pin] = "input"
