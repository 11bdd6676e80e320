"""iCE40: two products of 8 × 8 bits share a multiplier.

An SB_MAC16 (Lattice FPGA-TN-02007, "DSP function usage guide for iCE40 devices") multiplies 16 × 16 bits, or twice 8 × 8: the
high bytes of its operands and the low ones. Yosys infers the first only, with the registers before and behind.
"""

from typing import Any

from .netlist import Bit, Cells, readers

__all__ = ["pair_multipliers"]

OUTPUTS = ("O", "CO", "ACCUMCO", "SIGNEXTOUT")
OPERANDS = ("A", "B")
#: Parameters of a product of 16 × 16 bits: as it is; and, sent through an adder of zero, from the register behind that.
PLAIN = {"TOPOUTPUT_SELECT": 3, "BOTOUTPUT_SELECT": 3}
REGISTERED = {
    "TOPOUTPUT_SELECT": 1, "TOPADDSUB_LOWERINPUT": 2, "TOPADDSUB_UPPERINPUT": 1, "TOPADDSUB_CARRYSELECT": 3,
    "BOTOUTPUT_SELECT": 1, "BOTADDSUB_LOWERINPUT": 2, "BOTADDSUB_UPPERINPUT": 1, "BOTADDSUB_CARRYSELECT": 0,
}  # fmt: skip
#: The same for products of 8 × 8 bits: no carry from one to the other.
PLAIN_PAIR = {"TOPOUTPUT_SELECT": 2, "BOTOUTPUT_SELECT": 2}
REGISTERED_PAIR = REGISTERED | {"TOPADDSUB_LOWERINPUT": 1, "TOPADDSUB_CARRYSELECT": 0, "BOTADDSUB_LOWERINPUT": 1}
#: What neither may use: registers in the middle, the third operand's, the other mode.
UNUSED = (
    "C_REG", "D_REG", "TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG", "PIPELINE_16x16_MULT_REG1", "PIPELINE_16x16_MULT_REG2",
    "MODE_8x8",
)  # fmt: skip


def pair_multipliers(module: dict[str, Any]) -> int:
    """Put two products into one multiplier, in a module of a netlist in Yosys's JSON, in place: how many that saves.

    Two go together if all inputs but the operands are the same, and so are their registers; if each operand fits 8 bits,
    both signed or both unsigned; and if no more than 16 bits of a product are read.
    """
    cells: Cells = module["cells"]
    count = readers(module)
    waiting: dict[tuple[Any, ...], list[str]] = {}
    saved = 0
    for name in [name for name, cell in cells.items() if cell["type"] == "SB_MAC16"]:
        cell = cells[name]
        if (control := _control(cell)) is None or any(count[bit] for bit in _surplus(cell)):
            continue
        others = waiting.setdefault(control, [])
        partner = next((other for other in others if _signs(cells[other], cell) is not None), None)
        if partner is None:
            others.append(name)
            continue
        others.remove(partner)
        _join(cells[partner], cell)
        del cells[name]
        saved += 1
    return saved


def _control(cell: dict[str, Any]) -> tuple[Any, ...] | None:
    """What two products must have in common; None if the cell is not simply a product."""
    parameters, nets = {key: int(value, 2) for key, value in cell["parameters"].items()}, cell["connections"]
    registered = parameters["TOPOUTPUT_SELECT"] == 1
    wanted = (REGISTERED if registered else PLAIN) | dict.fromkeys(UNUSED, 0)
    if any(parameters[key] != value for key, value in wanted.items()):
        return None
    if registered and any(set(nets[p]) != {"0"} for p in ("C", "D", "OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT")):
        return None
    same = [(port, tuple(bits)) for port, bits in sorted(nets.items()) if port not in (*OUTPUTS, *OPERANDS)]
    return registered, parameters["NEG_TRIGGER"], parameters["A_REG"], parameters["B_REG"], *same


def _surplus(cell: dict[str, Any]) -> list[Bit]:
    """Outputs that a product of 8 × 8 bits does not have."""
    nets = cell["connections"]
    return [*nets["O"][16:], *(bit for port in OUTPUTS[1:] for bit in nets.get(port, ()))]


def _signs(first: dict[str, Any], second: dict[str, Any]) -> tuple[int, ...] | None:
    """A_SIGNED and B_SIGNED with which both cells' operands fit 8 bits; None where there are none."""
    common = [_fitting(first, port) & _fitting(second, port) for port in OPERANDS]
    return tuple(max(signs) for signs in common) if all(common) else None


def _fitting(cell: dict[str, Any], port: str) -> set[int]:
    """Whether the operand is one of 8 bits that is signed (1), unsigned (0): neither, one or both."""
    bits = cell["connections"][port]
    signed = int(cell["parameters"][f"{port}_SIGNED"], 2) and set(bits[8:]) == {bits[7]} and bits[7] != "x"
    return ({1} if signed else set()) | ({0} if set(bits[8:]) == {"0"} else set())


def _join(cell: dict[str, Any], other: dict[str, Any]) -> None:
    """Make ``other``'s product that of the high bytes of ``cell``."""
    parameters, nets = cell["parameters"], cell["connections"]
    changed = dict(REGISTERED_PAIR if int(parameters["TOPOUTPUT_SELECT"], 2) == 1 else PLAIN_PAIR)
    a_signed, b_signed = _signs(cell, other) or (0, 0)
    changed |= {"MODE_8x8": 1, "A_SIGNED": a_signed, "B_SIGNED": b_signed}
    for key, value in changed.items():
        parameters[key] = f"{value:0{len(parameters[key])}b}"
    for port, width in (*((p, 8) for p in OPERANDS), ("O", 16)):
        nets[port] = nets[port][:width] + other["connections"][port][:width]
