import dataclasses
import re

import numpy as np
import pytest

from hwgen.arith import IntType
from hwgen.templates.window import WindowParams
from hwgen.testing import STALLS, run_streams

from .contract import check_arrivals, check_limits, check_timing

INT8 = IntType(8)
UINT8 = IntType(8, False)


def window(height, width, channels, lanes, kernel, **more):
    return WindowParams(element=INT8, height=height, width=width, channels=channels, lanes=lanes, kernel=kernel, **more)


CASES = {
    "3x3 same": window(5, 6, 4, 2, (3, 3), pads=(1, 1, 1, 1), pad_value=-7),
    "3x3 same rows": window(5, 6, 4, 4, (3, 3), rows=3, pads=(1, 1, 1, 1), pad_value=-128),
    "equal rate": window(4, 5, 3, 1, (1, 1)),
    "equal rate, rows": window(6, 3, 2, 2, (3, 1), rows=3, pads=(1, 0, 1, 0)),
    "one pixel": window(1, 1, 2, 1, (1, 1)),
    "1x1 stride 2": window(6, 5, 2, 1, (1, 1), strides=(2, 2)),
    "stride beyond kernel": window(9, 8, 2, 2, (2, 2), strides=(3, 3), rows=2),
    "dilation": window(9, 10, 1, 1, (3, 2), dilations=(3, 4), rows=3, pads=(2, 0, 1, 3), pad_value=5),
    "asymmetric pads": window(6, 6, 2, 1, (3, 3), strides=(2, 2), pads=(0, 0, 1, 1), pad_value=1),
    "vertical pads": window(3, 4, 2, 2, (3, 2), pads=(2, 0, 1, 0), pad_value=3),
    "whole image": window(4, 3, 2, 1, (4, 3), rows=2),
    "10x4": window(15, 10, 1, 1, (10, 4), rows=5, strides=(2, 2), pads=(4, 1, 5, 1), pad_value=127),
    "depthwise": window(5, 4, 6, 2, (3, 3), groups=3, pads=(1, 1, 1, 1)),
    "grouped": window(4, 4, 8, 2, (3, 2), groups=2, strides=(1, 2), rows=1),
    "pads beyond kernel": window(2, 2, 1, 1, (2, 2), pads=(3, 3, 2, 2), pad_value=9),
}  # fmt: skip


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def params(request):
    return request.param


def frames(params, count, seed=1):
    words = np.random.default_rng(seed).integers(-128, 128, (count * params.inputs[0].words, params.lanes))
    words[0], words[-1] = -128, 127
    return words


def by_definition(p, words):
    """Written out from the docstring."""
    out = []
    top, left = p.pads[:2]
    chunks = p.channels // p.groups // p.lanes
    for x in words.reshape(-1, p.height, p.width, p.channels):
        for index in np.ndindex(p.out_height, p.out_width, p.groups, p.kernel[0] // p.rows, p.kernel[1], chunks):
            oy, ox, group, block, kx, chunk = index
            word = []
            for r in range(p.rows):
                y_in = oy * p.strides[0] + (block * p.rows + r) * p.dilations[0] - top
                x_in = ox * p.strides[1] + kx * p.dilations[1] - left
                channel = group * (p.channels // p.groups) + chunk * p.lanes
                inside = 0 <= y_in < p.height and 0 <= x_in < p.width
                word += x[y_in, x_in, channel : channel + p.lanes].tolist() if inside else [p.pad_value] * p.lanes
            out.append(word)
    return np.array(out)


def test_compute_is_the_definition(params):
    words = frames(params, 2)
    assert (params.compute(words) == by_definition(params, words)).all()


@pytest.mark.parametrize(("i_pause", "o_pause"), [(STALLS[0], STALLS[1]), (STALLS[1], STALLS[0]), (STALLS[2], STALLS[1])])
def test_hardware_is_reference(params, i_pause, o_pause):
    words = frames(params, 2)
    expected = params.compute(words)
    run = run_streams(params, [words], [len(expected)], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


@pytest.mark.parametrize(("i_pause", "o_pause"), [(i, o) for i in STALLS for o in STALLS])
def test_stalls(i_pause, o_pause):
    params = dataclasses.replace(CASES["3x3 same rows"], element=UINT8, pad_value=200)
    words = frames(params, 2) + 128
    expected = params.compute(words)
    run = run_streams(params, [words], [len(expected)], i_pause=i_pause, o_pause=o_pause)
    assert (run.outputs[0] == expected).all()


def test_timing(params):
    check_timing(params)


@pytest.mark.parametrize("name", ["3x3 same rows", "1x1 stride 2", "stride beyond kernel", "pads beyond kernel"])
def test_arrivals(name):
    check_arrivals(CASES[name])


@pytest.mark.parametrize("name", ["equal rate, rows", "3x3 same rows", "stride beyond kernel", "pads beyond kernel"])
def test_limits(name):
    check_limits(CASES[name])


def test_capacity():
    """Four rows of a 3×3 window, and what a frame's end takes; addresses that wrap by themselves where they cost nothing."""
    layer = window(32, 32, 16, 16, (3, 3), rows=3, pads=(1, 1, 1, 1))
    assert (layer.capacity, layer.cost().cycles) == (256, 32 * 32 * 3)
    narrow = dataclasses.replace(layer, channels=32, lanes=1, rows=1)
    assert 4 * 34 * 32 <= narrow.capacity <= 5 * 34 * 32
    assert narrow.cost().cycles == 32 * 32 * 9 * 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 0}, "lanes must be positive, not 0"),
        ({"strides": (1, 0)}, "strides must be two positive numbers, not (1, 0)"),
        ({"pads": (1, 1, 1)}, "pads must be four numbers that are not negative, not (1, 1, 1)"),
        ({"groups": 5}, "groups must divide the 8 channels, not 5"),
        ({"lanes": 4, "groups": 4}, "lanes must divide the 2 channels of a group, not 4"),
        ({"rows": 2}, "rows must divide the 3 kernel rows, not 2"),
        ({"pad_value": 128}, "pad_value must be in -128..127, not 128"),
        ({"dilations": (1, 4)}, "kernel must fit into the padded image of 6×8, not (3, 3) dilated by (1, 4)"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dataclasses.replace(window(4, 6, 8, 2, (3, 3), pads=(1, 1, 1, 1)), **change)
