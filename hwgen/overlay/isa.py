"""Instructions of the overlay engine: one definition for assembler, simulator, hardware decoder and docs/isa.md.

An instruction is a word of 256 bits: the opcode in its lowest bits, then the fields in the order of its class, each a natural
or two's complement number. Four units carry them out, each in the order of the program, none in step with another: an
instruction waits for one token of each unit that its ``wait`` names, and when it is done gives one to each that its ``signal``
names. (The scheme of decoupled access and execute of VTA, Moreau et al. 2019, with four units.)
"""

from dataclasses import Field, dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar

import numpy as np

__all__ = [
    "INSTRUCTIONS",
    "PLACES",
    "SCALE",
    "SHIFTS",
    "WORD",
    "Combine",
    "Drain",
    "End",
    "FieldError",
    "Fill",
    "Instruction",
    "Load",
    "Move",
    "Multiply",
    "Place",
    "Pool",
    "Softmax",
    "Store",
    "Unit",
    "assemble",
    "decode",
    "disassemble",
    "encode",
    "largest",
    "layout",
]  # fmt: skip

WORD = 32  #: bytes of an instruction
OPCODE = 4  #: bits
PLACES = 4  #: of the binary point in a requantiser, see :meth:`hwgen.overlay.engine.Engine.place`
SHIFTS = (16, 18, 20, 22)  #: of a Combine
SCALE = np.dtype([("mult", "<u8"), ("offset", "<i8")])  #: an entry of the scales


class FieldError(ValueError):
    """A number that its field has no room for; says which."""


class Unit(IntEnum):
    """What carries instructions out."""

    LOAD = 0
    MULTIPLY = 1
    VECTOR = 2
    STORE = 3


class Place(IntEnum):
    """Where a :class:`Load` puts what it reads."""

    SCRATCHPAD = 0
    WEIGHTS = 1
    SCALES = 2
    TABLES = 3


def _number(bits: int, text: str, signed: bool = False, default: int = 0) -> Any:
    return field(default=default, metadata={"bits": bits, "signed": signed, "text": text})


def _address(text: str) -> Any:
    return _number(24, text)


def _count(text: str, bits: int = 12) -> Any:
    return _number(bits, text, default=1)


def _step(text: str) -> Any:
    return _number(24, text, signed=True)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What all have."""

    opcode: ClassVar[int]
    unit: ClassVar[Unit]

    wait: int = _number(4, "units to wait for: a bit each (load, multiply, vector, store)")
    signal: int = _number(4, "units to tell, when done")

    def __post_init__(self) -> None:
        for f in layout(type(self)):
            low, high = _limits(f)
            if not low <= getattr(self, f.name) <= high:
                raise FieldError(f"{type(self).__name__}: {f.name} must be in {low}..{high}, not {getattr(self, f.name)!r}")


@dataclass(frozen=True, kw_only=True)
class Move(Instruction):
    """Rows of bytes between external memory and one of the engine's."""

    external: int = _number(32, "first byte there, a multiple of the bus's bytes")
    local: int = _address("first byte in the scratchpad, or first entry")
    size: int = _count("bytes of a row", 20)
    rows: int = _count("rows")
    external_step: int = _step("bytes from row to row there, a multiple of the bus's")
    local_step: int = _step("bytes from row to row in the scratchpad")


@dataclass(frozen=True, kw_only=True)
class Load(Move):
    """Read rows of bytes from external memory; in the scratchpad at any address, elsewhere one entry after the other.

    An entry of the weights is a row of the array, a byte for each column; of the scales 16 bytes (multiplier 8, of which 44
    bits count, offset 8, least significant first); of the tables 4 bytes. An entry begins with a beat of the bus, unless a beat
    holds several whole ones.
    """

    opcode, unit = 0, Unit.LOAD
    place: int = _number(2, "0 scratchpad, 1 weights, 2 scales, 3 tables")


@dataclass(frozen=True, kw_only=True)
class Fill(Instruction):
    """Write a byte all over rows of the scratchpad."""

    opcode, unit = 1, Unit.LOAD
    value: int = _number(8, "the byte", signed=True)
    local: int = _address("first byte")
    size: int = _count("bytes of a row", 20)
    rows: int = _count("rows")
    local_step: int = _step("bytes from row to row")


@dataclass(frozen=True, kw_only=True)
class Multiply(Instruction):
    """Add products of activations and weights to sums, an entry of one sum for each column at every position (y, x).

    The weights are tiles one after the other, one for each (k2, k1, k0), k0 the fastest. In matrix mode a tile has as many
    entries as the array has rows; from the activations' address on, as many bytes are multiplied with them. In depthwise mode a
    tile has an entry for each tap; bytes of as many channels as there are columns are read at ``(x_count - 1) * stride + taps``
    positions of each row, and those under the taps multiplied.
    """

    opcode, unit = 2, Unit.MULTIPLY
    source: int = _address("activations of the first tile and position")
    x_count: int = _count("positions in a row")
    x_step: int = _step("bytes from one to the next; in depthwise mode from one byte of a channel to the next")
    y_count: int = _count("rows")
    y_step: int = _step("bytes from row to row")
    k0_count: int = _count("tiles, first loop", 10)
    k0_step: int = _number(12, "bytes from tile to tile", signed=True)
    k1_count: int = _count("second loop", 8)
    k1_step: int = _step("its bytes")
    k2_count: int = _count("third loop", 8)
    k2_step: int = _step("its bytes")
    weights: int = _number(16, "first entry of the weights")
    sums: int = _number(14, "first entry of the sums")
    first: int = _number(1, "whether the first tile starts sums anew")
    depthwise: int = _number(1, "mode")
    stride: int = _count("depthwise mode: positions from one sum to the next", 3)


@dataclass(frozen=True, kw_only=True)
class Drain(Instruction):
    """Requantise sums into the scratchpad.

    ``y = clip(nearest(mult * sum + offset, 4 * shift) + zero, lo, hi)`` with the scale of the column: a product in float32,
    rounded to an integer, see :func:`hwgen.overlay.exact.nearest`.
    """

    opcode, unit = 3, Unit.VECTOR
    sums: int = _number(14, "first entry")
    target: int = _address("first byte")
    x_count: int = _count("positions in a row")
    x_step: int = _step("bytes from one to the next")
    y_count: int = _count("rows")
    y_step: int = _step("bytes from row to row")
    channels: int = _count("columns that count", 8)
    scales: int = _number(12, "scale of the first column, a multiple of the lanes")
    steps: int = _count("digits of the largest multiplier", 3)
    shift: int = _number(4, "a quarter of the shift, in 0..3 once 2 and digit / 4 * (steps - 1) are subtracted")
    zero: int = _number(8, "what is added", signed=True)
    lo: int = _number(8, "least result", signed=True, default=-128)
    hi: int = _number(8, "largest result", signed=True, default=127)


@dataclass(frozen=True, kw_only=True)
class Combine(Instruction):
    """``y = clip(round_half_even(a[x0] + b[x1], shift, window, odd), lo, hi)`` with tables a and b, element by element.

    Without the second operand (b is 0) any function of one.
    """

    opcode, unit = 4, Unit.VECTOR
    source0: int = _address("first byte of the first operand")
    source1: int = _address("of the second operand")
    target: int = _address("of the result")
    x_count: int = _count("bytes in a row", 16)
    y_count: int = _count("rows")
    y_step0: int = _step("bytes from row to row of the first operand")
    y_step1: int = _step("of the second operand")
    y_step: int = _step("of the result")
    single: int = _number(1, "whether there is only the first operand")
    shift: int = _number(5, "of the sum: 16, 18, 20 or 22", default=16)
    window: int = _number(5, "bits of the window above, and 1 more; 0: none")
    odd: int = _number(1, "parity of quotients that give way")
    lo: int = _number(8, "least result", signed=True, default=-128)
    hi: int = _number(8, "largest result", signed=True, default=127)


@dataclass(frozen=True, kw_only=True)
class Pool(Instruction):
    """The maximum over windows; with windows of one element a copy."""

    opcode, unit = 5, Unit.VECTOR
    source: int = _address("first byte of the first window")
    target: int = _address("first byte of the result")
    channels: int = _count("bytes of a position that follow each other", 12)
    x_count: int = _count("windows in a row", 10)
    x_step: int = _number(16, "bytes from window to window", signed=True)
    y_count: int = _count("rows of windows", 10)
    y_step: int = _step("bytes from row to row")
    kernel_x: int = _count("elements in a row of the window", 5)
    kernel_x_step: int = _number(16, "bytes from one to the next", signed=True)
    kernel_y: int = _count("rows of the window", 5)
    kernel_y_step: int = _step("bytes from one to the next")
    target_x_step: int = _number(16, "bytes from result to result", signed=True)
    target_y_step: int = _step("bytes from row to row of results")


@dataclass(frozen=True, kw_only=True)
class Softmax(Instruction):
    """Softmax over each vector of bytes that follow each other, in float32 as ONNX Runtime's operator for integers.

    ``y = min(rint(b[i] / sum(a[i])) + zero, 127)`` with ``i = x - max(x) + 255``, the sum from the first element to the last,
    and tables a and b of floats that are not negative: ``mantissa * 2 ** (exponent - 150)``, 24 bits and above them 8. Results
    must not overlap.
    """

    opcode, unit = 8, Unit.VECTOR
    source: int = _address("first byte of the first vector")
    target: int = _address("first byte of the result")
    channels: int = _count("bytes of a vector")
    x_count: int = _count("vectors in a row")
    x_step: int = _number(16, "bytes from vector to vector", signed=True)
    y_count: int = _count("rows")
    y_step: int = _step("bytes from row to row")
    target_x_step: int = _number(16, "bytes from result to result", signed=True)
    target_y_step: int = _step("bytes from row to row of results")
    zero: int = _number(8, "what is added", signed=True)


@dataclass(frozen=True, kw_only=True)
class Store(Move):
    """Write rows of bytes of the scratchpad to external memory."""

    opcode, unit = 6, Unit.STORE


@dataclass(frozen=True, kw_only=True)
class End(Instruction):
    """The frame is done when all before it is."""

    opcode, unit = 7, Unit.STORE


INSTRUCTIONS: tuple[type[Instruction], ...] = (Load, Fill, Multiply, Drain, Combine, Pool, Store, End, Softmax)


def layout(kind: type[Instruction]) -> tuple[Field, ...]:
    """The fields, from the lowest bits on."""
    return fields(kind)


def largest(kind: type[Instruction], name: str) -> int:
    """The largest number that a field has room for."""
    return _limits(next(f for f in layout(kind) if f.name == name))[1]


def _limits(f: Field) -> tuple[int, int]:
    bits, signed = f.metadata["bits"], f.metadata["signed"]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def encode(instruction: Instruction) -> bytes:
    """Its word."""
    word, place = instruction.opcode, OPCODE
    for f in layout(type(instruction)):
        word |= (getattr(instruction, f.name) & (1 << f.metadata["bits"]) - 1) << place
        place += f.metadata["bits"]
    return word.to_bytes(WORD, "little")


def decode(word: bytes) -> Instruction:
    """The instruction of a word; ``ValueError`` where there is none or bits are set that none has."""
    if len(word) != WORD:
        raise ValueError(f"word must have {WORD} bytes, not {len(word)}")
    rest = int.from_bytes(word, "little")
    opcode, rest = rest & (1 << OPCODE) - 1, rest >> OPCODE
    kind = next((k for k in INSTRUCTIONS if k.opcode == opcode), None)
    if kind is None:
        raise ValueError(f"opcode must be in 0..{len(INSTRUCTIONS) - 1}, not {opcode}")
    values = {}
    for f in layout(kind):
        bits = f.metadata["bits"]
        value, rest = rest & (1 << bits) - 1, rest >> bits
        values[f.name] = value - (1 << bits) if f.metadata["signed"] and value >> bits - 1 else value
    if rest:
        raise ValueError(f"{kind.__name__} must have zeros above its fields, not {rest:#x}")
    return kind(**values)


def assemble(text: str) -> list[Instruction]:
    """The program that :func:`disassemble` prints: a line each, ``Name field=value ...``; ``#`` starts a comment."""
    kinds = {kind.__name__: kind for kind in INSTRUCTIONS}
    program = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            pairs = (word.split("=", 1) for word in words[1:])
            program.append(kinds[words[0]](**{name: int(value, 0) for name, value in pairs}))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"line {number}: {line.strip()!r} is no instruction: {error}") from None
    return program


def disassemble(program: list[Instruction]) -> str:
    """A line each, fields that have their usual value left out."""
    lines = []
    for instruction in program:
        told = [
            f"{f.name}={getattr(instruction, f.name)}"
            for f in layout(type(instruction))
            if getattr(instruction, f.name) != f.default
        ]
        lines.append(" ".join([type(instruction).__name__, *told]))
    return "\n".join(lines) + "\n"


def reference() -> str:
    """docs/isa.md."""
    parts = ["# Instructions of the overlay engine", "", *(__doc__ or "").strip().splitlines()[2:], ""]
    for kind in INSTRUCTIONS:
        parts += [f"## {kind.__name__}", "", f"Opcode {kind.opcode}, unit {kind.unit.name.lower()}.", ""]
        parts += [
            " ".join(line.strip() for line in (kind.__doc__ or "").strip().splitlines()),
            "",
            "| bits | field | meaning |",
        ]
        parts += ["|---|---|---|"]
        place = OPCODE
        for f in layout(kind):
            bits = f.metadata["bits"]
            sign = ", signed" if f.metadata["signed"] else ""
            parts.append(f"| {place}..{place + bits - 1} | `{f.name}` | {f.metadata['text']}{sign} |")
            place += bits
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
