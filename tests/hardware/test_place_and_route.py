"""What to build instead where a device is full; the rest with stand-ins for nextpnr in ``tests/test_implementation.py``."""

import pytest

from hwgen.board import load_board
from hwgen.hardware.place_and_route import remedy

FIGURES = {"figures": {"interval_cycles": 18432}}  # 24 MHz / 18432 = 1302.08
FASTER = "--target-fps N below 1302.1, --objective area"


@pytest.mark.parametrize(
    ("manifest", "options"),
    [
        ({}, FASTER),
        ({"solution": {"soft": [0, 3]}}, f"{FASTER}, --dsp-only"),
        ({"solution": {"soft": [0, 0]}, "retrainable": True}, f"{FASTER}, without --retrainable"),
        ({"style": "overlay"}, "with a smaller --array, --multipliers, --lanes or --scratchpad"),
    ],
)
def test_remedy(manifest, options):
    less = f"build it again with less hardware (hwgen build {options}) or for a larger board"
    assert remedy(FIGURES | manifest, load_board("icebreaker")) == less
