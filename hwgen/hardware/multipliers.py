"""Registers around a multiplier move into the multiplier.

A MULT18X18D (Lattice FPGA-TN-02205, "ECP5 and ECP5-5G sysDSP usage guide") and a MULT9X9 (Gowin UG287, "Gowin digital
signal processing user guide") have registers for operands and product. Yosys infers them without; the way from a flip-flop to
the multiplier, through it and on to a flip-flop is then the longest of a design.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .netlist import Bit, Cells, Control, gowin_control, readers, trellis_control

__all__ = ["ECP5", "GOWIN", "Absorbed", "MultiplierCell", "absorb_registers"]

ENABLES = 4  #: that the multipliers of an ECP5's block share
Pin = tuple[str, int]  #: port, bit of it


@dataclass(frozen=True, kw_only=True)
class MultiplierCell:
    """A kind of multiplier, and the flip-flops of its device.

    Parameters
    ----------
    type
        Of the cell.
    operands
        Pins behind the registers of these names.
    product
        The same, before the register.
    data
        A flip-flop's input; its output is ``Q``.
    control_of
        What a flip-flop does; None where it can't move, and for all other cells.
    switch_on
        Has the register of that name, of a multiplier, be one of this control, of which so many others came before.
    """

    type: str
    operands: dict[str, tuple[Pin, ...]]
    product: dict[str, tuple[Pin, ...]]
    data: str
    control_of: Callable[[dict[str, Any]], Control | None]
    switch_on: Callable[[dict[str, Any], str, Control, int], None]


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
    pins: dict[Pin, Bit]
    flip_flops: frozenset[str]


def absorb_registers(module: dict[str, Any], kind: MultiplierCell) -> Absorbed:
    """Move registers into multipliers, in a module of a netlist in Yosys's JSON, in place.

    An operand's moves if every bit comes from a flip-flop or is 0, all of one clock and enable, without set or reset; where
    others read the flip-flops too, these stay for them. A product's moves if all of its bits that are read go to such
    flip-flops and nowhere else. Registers of a multiplier have one control, that of most of them.
    """
    cells: Cells = module["cells"]
    flip_flops = {name: control for name, cell in cells.items() if (control := kind.control_of(cell)) is not None}
    multipliers = [cell for cell in cells.values() if cell["type"] == kind.type]
    outputs = {name: cells[name]["connections"]["Q"][0] for name in flip_flops}
    inputs = {name: cells[name]["connections"][kind.data][0] for name in flip_flops}
    drivers = {bit: name for name, bit in outputs.items()}
    sinks = {bit: name for name, bit in inputs.items()}
    zeros = {"0", *(cell["connections"]["G"][0] for cell in cells.values() if cell["type"] == "GND")}
    count = readers(module)
    enables: dict[Bit, int] = {}
    moved = 0

    def register(bits: dict[Pin, Bit], found: dict[Bit, str], beyond: dict[str, Bit]) -> _Register | None:
        names = {pin: found[bit] for pin, bit in bits.items() if bit in found}
        controls = {flip_flops[name] for name in names.values()}
        if len(names) < len(bits) or len(controls) != 1:
            return None
        return _Register(controls.pop(), {pin: beyond[name] for pin, name in names.items()}, frozenset(names.values()))

    for multiplier in multipliers:
        registers: dict[str, _Register | None] = {}
        for name, pins in kind.operands.items():
            bits = {pin: bit for pin, bit in _bits(multiplier, pins) if bit not in zeros}
            registers[name] = register(bits, drivers, inputs)
        for name, pins in kind.product.items():
            bits = {pin: bit for pin, bit in _bits(multiplier, pins) if count[bit]}
            registers[name] = None if any(count[b] != 1 for b in bits.values()) else register(bits, sinks, outputs)
        controls = Counter(r.control for r in registers.values() if r is not None)
        if not controls:
            continue
        control = controls.most_common(1)[0][0]
        before = enables.setdefault(control.enable, len(enables))
        for name, made in registers.items():
            if made is None or made.control != control:
                continue
            for (port, place), bit in made.pins.items():
                if name in kind.operands:
                    count[multiplier["connections"][port][place]] -= 1
                    count[bit] += 1
                multiplier["connections"][port][place] = bit
            if name in kind.product:
                for flip_flop in made.flip_flops:
                    del cells[flip_flop]
            kind.switch_on(multiplier, name, control, before)
            moved += 1
    for bit, name in drivers.items():
        if name in cells and not count[bit]:
            del cells[name]
    gone = sum(name not in cells for name in flip_flops)
    left = len(multipliers) * (len(kind.operands) + len(kind.product)) - moved
    return Absorbed(registers=moved, left=left, flip_flops=gone)


def _bits(multiplier: dict[str, Any], pins: Iterable[Pin]) -> Iterable[tuple[Pin, Bit]]:
    nets = multiplier["connections"]
    return (((port, place), nets[port][place]) for port, place in pins)


def _ecp5(multiplier: dict[str, Any], name: str, control: Control, before: int) -> None:
    """The register takes its input on clock 0; reset 0 is never given."""
    parameters, index = multiplier["parameters"], before % ENABLES
    parameters |= {f"REG_{name}_CLK": "CLK0", f"REG_{name}_CE": f"CE{index}", f"REG_{name}_RST": "RST0"}
    parameters |= {"CLK0MUX": control.edge.replace("CLK", "CLK0"), "GSR": "DISABLED", "RESETMODE": "SYNC"}
    _connect(multiplier, {"CLK0": control.clock, f"CE{index}": control.enable, "RST0": "0"})


def _gowin(multiplier: dict[str, Any], name: str, control: Control, before: int) -> None:
    multiplier["parameters"] |= {name: "1", "MULT_RESET_MODE": "SYNC"}
    _connect(multiplier, {"CLK": control.clock, "CE": control.enable, "RESET": "0"})


def _connect(multiplier: dict[str, Any], inputs: dict[str, Bit]) -> None:
    for pin, bit in inputs.items():
        multiplier["connections"][pin] = [bit]
        multiplier["port_directions"][pin] = "input"


ECP5 = MultiplierCell(
    type="MULT18X18D",
    operands={f"INPUT{port}": tuple((f"{port}{k}", 0) for k in range(18)) for port in "AB"},
    product={"OUTPUT": tuple((f"P{k}", 0) for k in range(36))},
    data="DI",
    control_of=trellis_control,
    switch_on=_ecp5,
)
GOWIN = MultiplierCell(
    type="MULT9X9",
    operands={f"{port}REG": tuple((port, k) for k in range(9)) for port in "AB"},
    product={"OUT_REG": tuple(("DOUT", k) for k in range(18))},
    data="D",
    control_of=gowin_control,
    switch_on=_gowin,
)
