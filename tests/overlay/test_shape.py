"""Shapes of engines: what they refuse, and how constants lie in external memory for them."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hwgen.overlay.engine import Engine
from hwgen.overlay.isa import Place

ENGINE = Engine(rows=16, columns=12, lanes=8, scratchpad=1 << 12, weights=64, sums=64, scales=64)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        *(
            ({name: 0}, f"{name} must be positive, not 0")
            for name in ("rows", "columns", "lanes", "taps", "scratchpad", "weights", "sums", "scales")
        ),
        ({"rows": -1}, "rows must be positive, not -1"),
        ({"bus": 5}, "bus must be 4, 8, 16 or 32 bytes, not 5"),
        ({"bus": 64}, "bus must be 4, 8, 16 or 32 bytes, not 64"),
        ({"digit": 12}, "digit must be 8 or 16, not 12"),
        ({"lanes": 12}, "lanes must be a power of two, not 12"),
        ({"sums": 100}, "sums must be a power of two, not 100"),
        ({"sums": 1}, "sums must be at least 2, not 1"),
        ({"scales": 60}, "scales must be a multiple of 8 (lanes), not 60"),
        ({"soft": -1}, "soft must be in 0..192 (multipliers), not -1"),
        ({"soft": 193}, "soft must be in 0..192 (multipliers), not 193"),
        ({"taps": 17}, "taps must be at most 16 (rows), not 17"),
        ({"scratchpad": 100}, "scratchpad must be a multiple of 16 bytes (banks), not 100"),
    ],
    ids=str,
)
def test_refusals(engine, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(ENGINE, **engine)


def test_the_least_and_the_most():
    Engine(rows=1, columns=1, lanes=1, taps=1, scratchpad=4, weights=1, sums=2, scales=1, bus=4)
    assert replace(ENGINE, soft=192, taps=16, lanes=64, scales=192).banks == 64


@pytest.mark.parametrize("bus", [4, 8, 16, 32])
@pytest.mark.parametrize("columns", [*range(1, 10), 12, 13, 15, 16, 17, 31, 32, 33, 64, 100])
def test_entries_lie_in_beats(bus, columns):
    """An entry begins with a beat; several whole ones share it where they fit."""
    engine = replace(ENGINE, columns=columns, bus=bus)
    rng = np.random.default_rng(columns)
    for place, size in ((Place.WEIGHTS, columns), (Place.SCALES, 16), (Place.TABLES, 4)):
        for count in (*range(1, 12), 64):
            entries = rng.integers(0, 256, (count, size), np.uint8)
            content = engine.laid_out(place, entries)
            assert (content.dtype, content.size % bus) == (np.uint8, 0)
            shared = bus // size
            places = [k // shared * bus + k % shared * size if shared else k * -(-size // bus) * bus for k in range(count)]
            assert all((content[p : p + size] == entry).all() for p, entry in zip(places, entries, strict=True))
            assert content.size == (places[-1] // bus + 1 if shared else count * -(-size // bus)) * bus
            again = engine.entries_in(place, content)
            assert (again[:count] == entries).all()
            assert len(again) - count < max(shared, 1)
            assert not again[count:].any()
            group = engine.beats_of(place) * bus
            message = rf"^{content.size - 1} bytes must be groups of {group}$"
            with pytest.raises(IndexError, match=message):
                engine.entries_in(place, content[:-1])


def test_bytes_are_padded_to_whole_beats():
    assert [replace(ENGINE, bus=16).padded(size) for size in (0, 1, 15, 16, 17, 32)] == [0, 16, 16, 16, 32, 32]


@pytest.mark.parametrize(("digit", "places"), [(8, {2: 1, 5: 1, 4: 2, 7: 2, 8: 4, 11: 4}), (16, {2: 1, 5: 1, 6: 2, 9: 2})])
def test_binary_points(digit, places):
    """Of each number of steps the first and last shift."""
    engine = replace(ENGINE, digit=digit)
    assert [engine.place(shift, steps) for shift, steps in places.items()] == [0, 3] * (len(places) // 2)
