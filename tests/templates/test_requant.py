from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.hardware.verilog import convert
from hwgen.requantise import requantise
from hwgen.templates.requant import RequantParams, Scales
from hwgen.testing import STALLS, run_streams

from .contract import check_arrivals, check_limits, check_timing, random_words

INT8, UINT8, INT12, INT18 = IntType(8), IntType(8, False), IntType(12), IntType(18)


def block(seed: int = 0, fixes: int = 0, **changes: Any) -> tuple[RequantParams, Scales]:
    """Random scales of the full range of their types."""
    values: dict[str, Any] = {
        "accumulator": INT12, "output": INT8, "vectors": 3, "groups": 1, "channels": 6, "pe": 6, "lanes": 2, "steps": 3,
        "mult": IntType(7, False), "offset": IntType(18), "shift": 10, "window": 4, "odd": 1, "lo": -128, "hi": 127,
    }  # fmt: skip
    params = RequantParams(**{**values, **changes}, fixes=fixes)
    rng = np.random.default_rng(seed)
    n = params.groups * params.channels
    mult = rng.integers(0, params.mult.max + 1, n)
    mult[0] = params.mult.max
    offset = rng.integers(params.offset.min, params.offset.max + 1, n) // 4
    fixed = np.stack([np.arange(fixes) % n, rng.integers(-99, 99, fixes), rng.integers(-3, 4, fixes)], axis=1)
    return params, Scales(mult=mult, offset=offset, fixes=fixed)


SHAPES: list[dict[str, Any]] = [
    {},
    {"lanes": 6, "steps": 1},
    {"lanes": 1, "steps": 1, "mult": IntType(17, False), "offset": IntType(25), "shift": 20, "window": 7},
    {"pe": 4, "channels": 10, "steps": 2},
    {"pe": 2, "groups": 2, "steps": 7, "odd": 0},
    {"pe": 9, "lanes": 3, "groups": 2, "window": -1},
    {"pe": 1, "channels": 1, "lanes": 1, "vectors": 7, "steps": 4},
    {"accumulator": IntType(9, False), "output": UINT8, "lo": 3, "hi": 250, "window": 0, "steps": 5},
    {"shift": 0, "window": -1, "lo": 5, "hi": 5},
    {"pe": 40, "channels": 40, "lanes": 1, "steps": 2, "vectors": 1},
]


@pytest.mark.parametrize("changes", SHAPES)
@pytest.mark.parametrize("o_pause", STALLS)
def test_hardware_is_reference(changes, o_pause):
    params, scales = block(**changes)
    words = random_words(params, 2)[0]
    words[0], words[-1] = params.accumulator.min, params.accumulator.max
    want = params.compute(words, scales)
    for i_pause in STALLS:
        run = run_streams(params, [words], [len(want)], contents=scales, i_pause=i_pause, o_pause=o_pause)
        assert (run.outputs[0] == want).all()


@pytest.mark.parametrize("steps", [1, 4])
def test_fixes(steps):
    params, scales = block(fixes=5, steps=steps)
    words = random_words(params, 2)[0]
    for channel, value, _ in scales.fixes:
        words[channel % 2 :: 2, channel] = value
    want = params.compute(words, scales)
    assert (want != replace(params, fixes=0).compute(words, replace(scales, fixes=np.zeros((0, 3), int)))).any()
    assert (run_streams(params, [words], [len(want)], contents=scales).outputs[0] == want).all()


def test_requantisation_of_a_layer():
    """The integers that the search finds, near all thresholds, in the widths it needs."""
    rng = np.random.default_rng(4)
    scale, bias = rng.uniform(0.0005, 0.004, 8).astype(np.float32), rng.integers(-3000, 3000, 8)
    limits = np.full(8, -(1 << 17)), np.full(8, (1 << 17) - 1)
    exact = requantise(scale, -3, -3, 127, bias, *limits)
    params = RequantParams(
        accumulator=INT18, output=INT8, vectors=60, groups=1, channels=8, pe=8, lanes=2, steps=5,
        mult=IntType.holding(0, int(exact.mult.max())), offset=IntType(40),
        shift=exact.shift, window=exact.window, odd=exact.odd, lo=-3, hi=127, fixes=len(exact.fixes),
    )  # fmt: skip
    level = rng.integers(-5, 130, (60, 8)) + 2.5
    acc = np.clip(np.rint(level / scale - bias + rng.integers(-2, 3, (60, 8))).astype(int), -(1 << 17), (1 << 17) - 1)
    want = np.clip(np.rint((acc + bias).astype(np.float32) * scale).astype(int) - 3, -3, 127)
    scales = Scales(mult=exact.mult, offset=exact.offset, fixes=exact.fixes)
    assert (params.compute(acc, scales) == want.reshape(-1, 2)).all()
    assert (run_streams(params, [acc], [240], contents=scales).outputs[0] == want.reshape(-1, 2)).all()


def test_equal_scales_need_no_memory():
    params, scales = block(uniform=True)[0], Scales(mult=np.full(6, 77), offset=np.full(6, -999))
    assert "rom" not in convert(params.create(scales), "requant")
    words = random_words(params, 2)[0]
    assert (run_streams(params, [words], [18], contents=scales).outputs[0] == params.compute(words, scales)).all()

    with pytest.raises(ValueError, match=r"offset must be the same for all channels, not in -999\.\.-998$"):
        params.create(Scales(mult=scales.mult, offset=scales.offset + (np.arange(6) == 2)))


@pytest.mark.parametrize("changes", SHAPES)
def test_timing_is_the_model(changes):
    params, scales = block(**changes)
    check_timing(params, scales)
    check_arrivals(params, scales)


@pytest.mark.parametrize("changes", SHAPES[:7])
def test_limits(changes):
    check_limits(*block(**changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"vectors": 0}, r"vectors must be positive, not 0"),
        ({"steps": 0}, r"steps must be positive, not 0"),
        ({"lanes": 4}, r"lanes must divide 6 \(channels\), not be 4"),
        ({"pe": 3, "lanes": 2}, r"lanes must divide 3 \(pe\), not be 2"),
        ({"mult": INT8}, r"mult must be unsigned, not int8"),
        ({"offset": UINT8}, r"offset must be signed, not uint8"),
        ({"steps": 8}, r"steps must be at most the bits of mult \(7\), not 8"),
        ({"shift": 63}, r"shift must be in 0\.\.62, not 63"),
        ({"window": 10}, r"window must be in -1\.\.9, not 10"),
        ({"odd": 2}, r"odd must be 0 or 1, not 2"),
        ({"lo": -129}, r"lo and hi must be an interval of int8, not -129 and 127"),
        ({"fixes": -1}, r"fixes must not be negative, not -1"),
        ({"accumulator": IntType(60)}, r"mult \* accumulator \+ offset must be within 2\*\*62, not .*"),
    ],
)
def test_errors(changes, text):
    params, _ = block()
    with pytest.raises(ValueError, match=f"^{text}$"):
        replace(params, **changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mult": np.zeros(5, int)}, r"mult must have shape \(6,\), not \(5,\)"),
        ({"mult": np.full(6, 128)}, r"mult must be uint7, not in 128\.\.128"),
        ({"offset": np.full(6, 1 << 20)}, r"offset must be int18, not in 1048576\.\.1048576"),
        ({"fixes": np.zeros((1, 3), int)}, r"fixes must have shape \(0, 3\), not \(1, 3\)"),
    ],
)
def test_contents_errors(change, text):
    params, scales = block()
    with pytest.raises(ValueError, match=f"^{text}$"):
        params.create(replace(scales, **change))


def test_fixes_of_other_channels():
    params, scales = block(fixes=1)
    with pytest.raises(ValueError, match=r"^fixes must be of channels 0\.\.5, not 6\.\.6$"):
        params.create(replace(scales, fixes=np.array([[6, 0, 1]])))
