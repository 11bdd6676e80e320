"""Arithmetic of the overlay's requantisers, against float32."""

import numpy as np
import pytest

from hwgen.overlay.exact import nearest


def products(seed: int):
    """Random float32 scales with integers whose products lie near halves: (scale, integers, multiplier, shift)."""
    rng = np.random.default_rng(seed)
    for trial in range(200):
        mantissa = int(rng.integers(1 << 23, 1 << 24))
        if trial % 3 == 0:  # few bits: exact ties
            mantissa &= -1 << int(rng.integers(0, 24))
        scale = np.float32(mantissa * 2.0 ** int(rng.integers(-38, -23)))
        bits, exponent = np.frexp(np.float64(scale))
        more = int(rng.integers(0, 4))
        halves = np.concatenate([np.arange(-256, 256) + 0.5, np.tile([0.5, -0.5, 1.5, -1.5], 50)])
        far = rng.integers(-2, 3, len(halves))
        integers = np.unique(np.rint(halves / np.float64(scale)).astype(np.int64) + far)
        integers = integers[(np.abs(integers) <= 1 << 24) & (np.abs(integers * np.float64(scale)) <= 256)]
        yield scale, integers, int(bits * (1 << 24)) << more, 24 - int(exponent) + more


@pytest.mark.parametrize("seed", range(10))
def test_nearest_is_the_rounded_float32_product(seed):
    ties = 0
    for scale, integers, mult, shift in products(seed):
        wanted = np.rint(integers.astype(np.float32) * scale).astype(np.int64)
        assert (nearest(integers * mult + (1 << shift - 1), shift) == wanted).all(), scale
        ties += (wanted != (integers * mult + (1 << shift - 1)) >> shift).sum()
    assert ties > 500  # plain rounding would not do
