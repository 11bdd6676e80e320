import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwgen.arith import round_half_even
from hwgen.errors import HwgenError
from hwgen.requantise import check, reference, requantise

INT8 = {"zero_point": 0, "lo": -128, "hi": 127}


def arguments(scale, bias, acc_lo, acc_hi, **limits):
    scale = np.atleast_1d(np.asarray(scale, np.float32))
    parts = {"bias": bias, "acc_lo": acc_lo, "acc_hi": acc_hi}
    return {"scale": scale, **{k: np.broadcast_to(np.int64(v), scale.shape) for k, v in parts.items()}, **{**INT8, **limits}}


def every_accumulator(result, scale, zero_point, lo, hi, bias, acc_lo, acc_hi):
    """Nothing but the two functions, at every integer."""
    for c in range(len(scale)):
        acc = np.arange(acc_lo[c], acc_hi[c] + 1)
        want = reference(acc, scale[c], zero_point, lo, hi, bias[c])
        assert (result.apply(np.full(len(acc), c), acc, lo, hi) == want).all(), (c, scale[c])


@pytest.mark.parametrize(("shift", "window", "odd"), [(0, -1, 0), (3, -1, 1), (3, 0, 1), (5, 2, 0), (5, 4, 1)])
def test_rounding_is_as_defined(shift, window, odd):
    for x in range(-200, 200):
        exact = Fraction(x, 1 << shift)
        floor = exact.numerator // exact.denominator
        in_window = window >= 0 and exact - floor < Fraction(1 << window, 1 << shift)
        want = floor - 1 if in_window and floor % 2 == odd else floor
        assert round_half_even(x, shift, window, odd) == want
        assert round_half_even(np.array([x]), shift, window, odd).tolist() == [want]


def test_reference_is_the_float_expression():
    acc = np.array([-3, -1, 0, 1, 3, 5, 1 << 24, (1 << 24) + 1, (1 << 25) + 3])
    assert reference(acc[:6], np.float32(0.5), 0, -128, 127).tolist() == [-2, 0, 0, 0, 2, 2]
    assert reference(acc[:6], np.float32(0.5), 1, -128, 127).tolist() == [-1, 1, 1, 1, 3, 3]
    tiny = np.float32(2.0**-20)
    assert reference(acc[6:], tiny, 0, -128, 127).tolist() == [16, 16, 32]
    assert reference(np.array([-1, 0, 1]), np.float32(3e38), 3, 0, 255, 5).tolist() == [255, 255, 255]


@pytest.mark.parametrize("zero_point", [-128, -3, 0, 4, 127])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25, 3.0, 0.75, 2.0**-6, 0.0123, 7.5e-3, 1e30, 1e-30, 0.0])
def test_every_accumulator(scale, zero_point):
    args = arguments(
        [scale, scale * 0.7, scale], [0, 12345, -777], [-9000, -5000, 20], [9000, 6000, 900], zero_point=zero_point
    )
    every_accumulator(requantise(**args), **args)


@pytest.mark.parametrize(
    ("zero_point", "lo", "hi"), [(128, 0, 255), (7, 7, 255), (-5, -5, 127), (3, 3, 3), (0, -8, 7), (0, 1, 2)]
)
def test_output_types_and_clamps(zero_point, lo, hi):
    scale = np.random.default_rng(5).uniform(0.002, 0.03, 24)
    args = arguments(scale, 100, -9000, 9000, zero_point=zero_point, lo=lo, hi=hi)
    every_accumulator(requantise(**args), **args)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.floats(2.0**-40, 2.0**20, width=32),
            st.integers(-(2**31), 2**31),
            st.integers(-(2**26), 2**26),
            st.integers(0, 2**26),
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(0, 255),
)
def test_never_refuses(channels, zero_point, lo, width):
    scale, bias, acc_lo, span = zip(*channels, strict=True)
    args = arguments(
        scale, bias, acc_lo, np.add(acc_lo, span), zero_point=zero_point, lo=lo, hi=min(lo + width, 127)
    )  # fmt: skip
    result = requantise(**args)
    random = np.random.default_rng(0)
    for c in range(len(scale)):
        acc = random.integers(args["acc_lo"][c], args["acc_hi"][c] + 1, 2000)
        want = reference(acc, args["scale"][c], zero_point, args["lo"], args["hi"], args["bias"][c])
        assert (result.apply(np.full(len(acc), c), acc, args["lo"], args["hi"]) == want).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-14, 2), st.integers(-20000, 20000), st.integers(1, 3000), st.integers(-128, 127), st.integers(1, 8))
def test_small_ranges(log_scale, middle, span, zero_point, bits):
    scale = np.round(2.0**log_scale * 2**bits) / 2**bits or 2.0**-bits  # few bits: many ties
    args = arguments(scale, -middle, middle - span, middle + span, zero_point=zero_point)
    every_accumulator(requantise(**args), **args)


def test_a_layer_of_256_channels():
    random = np.random.default_rng(1)
    scale = (2.0 ** random.uniform(-10, -7, 256)).astype(np.float32)
    args = arguments(scale, random.integers(-5000, 5000, 256), -(2**19), 2**19)
    result = requantise(**args)
    assert len(check(result, **args)) == 0
    assert int(result.mult.max()) < 1 << 30
    assert len(result.fixes) <= 32


def test_what_is_constant_costs_nothing():
    args = arguments([0.01, 0.01, 1e-9, 0.3], [0, 2**31, 7, -(2**31)], [-500, -500, -500, 5], [500, 500, 500, 5])
    result = requantise(**args)
    alone = requantise(**{k: v[:1] if isinstance(v, np.ndarray) else v for k, v in args.items()})
    assert result.mult[1:].tolist() == [0, 0, 0]
    assert (result.mult[0], result.offset[0], result.shift) == (alone.mult[0], alone.offset[0], alone.shift)
    assert (np.abs(result.offset[1:]) <= 128 << result.shift).all()


def test_ties_need_no_wide_multiplier():
    result = requantise(**arguments(2.0**-5, 0, -5000, 5000))
    assert result.mult.tolist() == [1]
    assert result.window >= 0


def test_beyond_float32_integers_fixes_remain():
    args = arguments(2.0**-20 * 1.1, 0, -(2**27), 2**27)
    result = requantise(**args)
    assert len(result.fixes) > 0
    c, acc, delta = result.fixes[0]
    assert len(check(dataclasses.replace(result, fixes=result.fixes[1:]), **args)) >= 1
    assert delta != 0
    assert reference(acc, args["scale"][c], 0, -128, 127) == result.apply(c, acc, -128, 127)


def test_scales_too_far_apart():
    text = r"^scales 9\.999999974752427e-07 to 100\.0 are too far apart to requantise with one shift: quantise by tensor$"
    with pytest.raises(HwgenError, match=text):
        requantise(**arguments([100, 1e-6], 0, -(2**27), 2**27))


def test_check_finds_a_wrong_offset():
    args = arguments([0.013, 0.017], 0, -5000, 5000)
    result = requantise(**args)
    worse = dataclasses.replace(result, offset=result.offset + np.array([0, result.mult[1]]))
    wrong = check(worse, **args)
    assert set(wrong[:, 0].tolist()) == {1}
    for c, acc in wrong.tolist():
        assert worse.apply(c, acc, -128, 127) != reference(acc, args["scale"][c], 0, -128, 127)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scale": np.float32([-1.0])}, "scale must be finite and not negative"),
        ({"scale": np.float32([np.nan])}, "scale must be finite and not negative"),
        ({"lo": 5, "hi": 4}, "lo must be at most hi, not 5 and 4"),
        ({"acc_lo": np.array([8]), "acc_hi": np.array([7])}, "acc_lo must be at most acc_hi in every channel"),
        ({"bias": np.array([2**34])}, r"bias, acc_lo and acc_hi must be within 2\*\*33"),
        ({"hi": 2**17}, r"lo, hi and zero_point must be within 2\*\*16, not -128, 131072 and 0"),
        (
            {"bias": np.zeros(2)},
            r"scale, bias, acc_lo and acc_hi must have one shape \(channels,\), not \[\(1,\), \(2,\), \(1,\), \(1,\)\]",
        ),
    ],
)
def test_errors(change, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        requantise(**{**arguments(1.0, 0, -5, 5), **change})
