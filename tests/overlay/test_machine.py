"""What the simulator refuses to carry out."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Combine, Drain, End, Fill, Load, Multiply, Place, Pool, Store
from hwgen.overlay.machine import Machine, ProgramError

ENGINE = Engine(rows=4, columns=4, lanes=4, bus=4, scratchpad=256, weights=16, sums=8, scales=8)


@pytest.fixture
def machine():
    return Machine(ENGINE, np.zeros(512, np.uint8))


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (Fill(local=250, size=10), "the scratchpad has addresses 0..255, not 250..259"),
        (Fill(local=8, rows=3, local_step=-8), "the scratchpad has addresses 0..255, not -8..8"),
        (Load(external=500, size=16), "external memory has addresses 0..511, not 500..515"),
        (Load(local=256), "the scratchpad has addresses 0..255, not 256..256"),
        (Load(place=Place.WEIGHTS, local=13, size=16), "the memory of weights has addresses 0..15, not 13..16"),
        (Load(place=Place.SCALES, local=8, size=16), "the memory of scales has addresses 0..7, not 8..8"),
        (Load(place=Place.TABLES, local=511, size=8), "the memory of tables has addresses 0..511, not 511..512"),
        (Load(place=Place.SCALES, size=24), "24 bytes must be groups of 16"),
        (Multiply(weights=13), "the memory of weights has addresses 0..15, not 13..16"),
        (Multiply(source=253), "the scratchpad has addresses 0..255, not 253..256"),
        (Multiply(source=245, depthwise=1, x_step=4), "the scratchpad has addresses 0..255, not 245..256"),
        (Multiply(sums=7, x_count=2), "the memory of sums has addresses 0..7, not 7..8"),
        (Drain(sums=8), "the memory of sums has addresses 0..7, not 8..8"),
        (Drain(scales=8, channels=2), "the memory of scales has addresses 0..7, not 8..9"),
        (Drain(scales=3, channels=2), "scales must be a multiple of 4 (lanes), not 3"),
        (Drain(steps=2, shift=8), "shift must be in 4..7 for 2 steps, not 8"),
        (Drain(steps=2, shift=3), "shift must be in 4..7 for 2 steps, not 3"),
        (Combine(shift=17), "shift must be one of (16, 18, 20, 22), not 17"),
        (Drain(channels=5), "there are columns 0..3, not 5"),
        (Drain(target=255, channels=2, shift=2), "the scratchpad has addresses 0..255, not 255..256"),
        (Combine(source1=250, x_count=7), "the scratchpad has addresses 0..255, not 250..256"),
        (Pool(source=254, kernel_x=3, kernel_x_step=1), "the scratchpad has addresses 0..255, not 254..256"),
        (Store(external=508, size=8), "external memory has addresses 0..511, not 508..515"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_addresses_out_of_range(machine, instruction, message):
    with pytest.raises(ProgramError, match=f"^{re.escape(f'instruction 1, {instruction}: {message}')}$"):
        machine.run([Fill(), instruction, End()])


def test_multipliers_have_as_many_digits_as_the_instruction_says(machine):
    machine.scales["mult"] = 1 << 8
    machine.run([Drain(steps=2, shift=4), End()])
    wrong = Drain(steps=1, shift=2)
    with pytest.raises(ProgramError, match=f"^{re.escape(f'instruction 0, {wrong}: multipliers have 1 digits, not more')}$"):
        machine.run([wrong, End()])


def test_the_end(machine):
    machine.run([Fill(value=1), End(), Fill(value=2)])
    assert machine.scratchpad[0] == 1
    with pytest.raises(ProgramError, match=r"^the program has no End$"):
        machine.run([Fill(value=3)])


def test_external_memory_is_bytes():
    with pytest.raises(ValueError, match=r"^external must be bytes, not int8 of shape \(8,\)$"):
        Machine(ENGINE, np.zeros(8, np.int8))
    with pytest.raises(ValueError, match=r"^scratchpad must be a multiple of 4 bytes \(banks\), not 255$"):
        replace(ENGINE, scratchpad=255)
