"""ECP5: gates in front of an adder move into the adder's own look-up tables.

A half of a carry cell (CCU2C in ripple mode; Lattice FPGA-TN-02206) has a LUT4 of its four inputs, whose value is the sum
without carry, and a LUT2 of the first two, whose value is carried on where the LUT4 says 0. Synthesis
uses two of the inputs. Where these come from look-up tables of two inputs each, as the gated operands of a multiplier do
(:mod:`hwgen.templates.product`), the half can compute them itself.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .netlist import Bit, readers

__all__ = ["absorb_gates"]

PINS = "ABCD"


@dataclass(frozen=True)
class _Function:
    """A function of up to two nets: ``table`` has one bit for each value of the inputs, the first lowest."""

    inputs: tuple[Bit, ...]
    table: int

    def __call__(self, *values: int) -> int:
        return self.table >> sum(v << k for k, v in enumerate(values)) & 1


def absorb_gates(module: dict[str, Any]) -> int:
    """Move gates into carry cells, in a module of a netlist in Yosys's JSON, in place: how many LUT4 that saves.

    The module's function stays the same; every change is checked for all values of its inputs.
    """
    cells = module["cells"]
    drivers: dict[Bit, _Function] = {}
    names: dict[Bit, str] = {}
    for name, cell in cells.items():
        if cell["type"] == "LUT4":
            function = _reduced(_number(cell["parameters"]["INIT"]), [cell["connections"][p][0] for p in PINS])
            if len(function.inputs) <= 2:
                (net,) = cell["connections"]["Z"]
                drivers[net], names[net] = function, name
    read = readers(module)
    for cell in cells.values():
        if cell["type"] == "CCU2C":
            for half in "01":
                _absorb_half(cell, half, drivers, read)
    unread = [names[net] for net in drivers if not read[net]]
    for name in unread:
        del cells[name]
    return len(unread)


def _absorb_half(cell: dict[str, Any], half: str, drivers: dict[Bit, _Function], read: Counter[Bit]) -> None:
    pins = [cell["connections"][p + half][0] for p in PINS]
    init = _number(cell["parameters"]["INIT" + half])
    used = [k for k, net in enumerate(pins) if net in drivers]
    free = [k for k, net in enumerate(pins) if net in ("0", "1", "x")]
    if not used or used[-1] > 1 or free != [2, 3]:
        return  # the operands are at A and B, and at least one is a gate's output
    rest = sum(1 << k for k in free if pins[k] == "1")

    def propagate(a: int, b: int) -> int:
        return init >> (rest | a | b << 1) & 1

    def generate(a: int, b: int) -> int:
        return init >> (a | b << 1) & 1

    operands = [drivers.get(net, _Function((net,), 0b10)) for net in pins[:2]]
    for first, second in (operands, operands[::-1]):
        swapped = first is not operands[0]
        table = 0
        fits = True
        for p, q, r, s in _values():
            f, g = first(*(p, q)[: len(first.inputs)]), second(*(r, s)[: len(second.inputs)])
            a, b = (g, f) if swapped else (f, g)
            f0, g0 = f, second(*(0, 0)[: len(second.inputs)])
            a0, b0 = (g0, f0) if swapped else (f0, g0)
            carried = propagate(a0, b0)  # what the LUT2 will say: the LUT4 with its other two inputs at 0
            fits = fits and (bool(propagate(a, b)) or carried == generate(a, b))
            table |= propagate(a, b) << (p | q << 1 | r << 2 | s << 3)
        if fits:
            inputs = [*_two(first), *_two(second)]
            for k, net in enumerate(inputs):
                cell["connections"][PINS[k] + half] = [net]
            cell["parameters"]["INIT" + half] = f"{table:016b}"
            read.subtract(pins)
            read.update(inputs)
            return


def _two(function: _Function) -> tuple[Bit, ...]:
    return (*function.inputs, *("0",) * (2 - len(function.inputs)))


def _values() -> Iterator[tuple[int, ...]]:
    return (tuple(n >> k & 1 for k in range(4)) for n in range(16))


def _number(parameter: str | int) -> int:
    return int(parameter, 2) if isinstance(parameter, str) else parameter


def _reduced(init: int, pins: list[Bit]) -> _Function:
    """The function of a LUT4 without constant inputs and those that do not matter."""
    inputs, table = list(pins), init
    for k in reversed(range(len(inputs))):
        size = 1 << len(inputs)
        halves = [sum((table >> n & 1) << _without(n, k) for n in range(size) if n >> k & 1 == value) for value in (0, 1)]
        if inputs[k] in ("0", "1", "x") or halves[0] == halves[1]:
            table = halves[inputs[k] == "1"]
            del inputs[k]
    return _Function(tuple(inputs), table)


def _without(n: int, k: int) -> int:
    """``n`` without its bit ``k``."""
    return n & (1 << k) - 1 | n >> k + 1 << k
