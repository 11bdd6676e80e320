"""What engines take, beside what yosys makes of them for the ECP5 (as benchmarks/resources.py counts)."""

import pytest

from benchmarks.engine_resources import ENGINES, recorded
from benchmarks.resources import describe
from hwgen.cost import BLOCKS_18K, Resources
from hwgen.overlay.resources import engine_resources, image_resources, scratchpad_resources


@pytest.mark.parametrize("engine", ENGINES, ids=describe)
def test_beside_synthesis(engine):
    predicted, measured = engine_resources(engine, BLOCKS_18K), recorded()[describe(engine)]
    assert predicted.dsp == measured.dsp
    # Of 16,384 entries, in blocks of 2 bits, yosys finds bits that are not used.
    assert predicted.bram == measured.bram + (6 if engine.weights == 16384 else 0)
    assert predicted.lut == pytest.approx(measured.lut, rel=0.04)
    assert predicted.ff == pytest.approx(measured.ff, rel=0.04)


def test_memories_on_chip():
    assert image_resources(2048, 8, BLOCKS_18K) == Resources(bram=8)
    assert image_resources(2048 + 512, 8, BLOCKS_18K) == Resources(bram=10)


def test_small_scratchpads_are_of_look_up_tables():
    assert scratchpad_resources(32, 1 << 10, BLOCKS_18K).bram == 0
    assert scratchpad_resources(16, 1 << 16, BLOCKS_18K) == Resources(bram=32)
