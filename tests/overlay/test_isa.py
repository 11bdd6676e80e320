"""Encoding, assembler and documentation of the overlay's instructions."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwgen.overlay import isa
from hwgen.overlay.isa import INSTRUCTIONS, WORD, Drain, Fill, Load, Multiply, assemble, decode, disassemble, encode, layout


@st.composite
def instructions(draw):
    kind = draw(st.sampled_from(INSTRUCTIONS))
    values = {}
    for f in layout(kind):
        bits, signed = f.metadata["bits"], f.metadata["signed"]
        values[f.name] = draw(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1))
    return kind(**values)


@given(st.lists(instructions(), max_size=5))
def test_round_trips(program):
    assert [decode(encode(i)) for i in program] == program
    assert assemble(disassemble(program)) == program


def test_opcodes_and_sizes():
    assert [kind.opcode for kind in INSTRUCTIONS] == list(range(len(INSTRUCTIONS)))
    assert all(isa.OPCODE + sum(f.metadata["bits"] for f in layout(kind)) <= 8 * WORD for kind in INSTRUCTIONS)


def test_fields_lie_where_the_documentation_says():
    """From the lowest bits on: opcode, wait, signal, then the fields of the class."""
    word = int.from_bytes(encode(Fill(wait=0b0010, signal=0b1000, value=-2, local=0x123456)), "little")
    assert word & 0xF == Fill.opcode
    assert word >> 4 & 0xF == 0b0010
    assert word >> 8 & 0xF == 0b1000
    assert word >> 12 & 0xFF == 0xFE
    assert word >> 20 & 0xFFFFFF == 0x123456


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Load(external=1 << 32), "Load: external must be in 0..4294967295, not 4294967296"),
        (lambda: Multiply(x_step=-(1 << 23) - 1), "Multiply: x_step must be in -8388608..8388607, not -8388609"),
        (lambda: decode(b"\x00" * 31), "word must have 32 bytes, not 31"),
        (lambda: decode(b"\x0f" + b"\x00" * 31), "opcode must be in 0..8, not 15"),
        (lambda: decode(encode(Drain())[:-1] + b"\x80"), "Drain must have zeros above its fields, not 0x"),
        (lambda: assemble("Load\nLoad sizes=3"), "line 2: 'Load sizes=3' is no instruction: "),
        (lambda: assemble("Lode size=3"), "line 1: 'Lode size=3' is no instruction: 'Lode'"),
        (lambda: assemble("Fill value=x"), "line 1: 'Fill value=x' is no instruction: invalid literal"),
        (lambda: assemble("Fill value=300"), "line 1: 'Fill value=300' is no instruction: Fill: value must be in -128..127"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert str(caught.value).startswith(message)


def test_assembler():
    text = "# a border\nFill value=-3 local=0x10 size=4 rows=2 local_step=8  # twice\n\nEnd wait=1\n"
    program = assemble(text)
    assert program[0] == Fill(value=-3, local=16, size=4, rows=2, local_step=8)
    assert disassemble(program) == "Fill value=-3 local=16 size=4 rows=2 local_step=8\nEnd wait=1\n"


def test_documentation_is_that_of_the_code():
    path = Path(__file__).parents[2] / "docs" / "isa.md"
    assert path.read_text() == isa.reference(), "run python -m hwgen.overlay.isa > docs/isa.md"
