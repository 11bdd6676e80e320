"""Pins and clocks as nextpnr reads them, against what Amaranth itself renders for the board."""

from fractions import Fraction
from pathlib import Path

import pytest

from hwgen.board import load_board
from hwgen.hardware.board_top import BoardTop, board_files
from hwgen.hardware.devices import device_of
from hwgen.hardware.emit import emit
from hwgen.hardware.link import BAUD, link_params
from tests.hardware.designs import fifos

#: Which of Amaranth's lines are replaced: the router of the ECP5 gets a margin, by way of the oscillator's clock.
MARGINS = {
    "ulx3s-85f": {'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ;': 'FREQUENCY PORT "clk25_0__io" 25500000.0 HZ;'},
    "icebreaker": {},
    "tang-primer-20k": {},
}


@pytest.mark.parametrize("name", MARGINS)
def test_constraints(tmp_path, name):
    emit(fifos(), tmp_path, board=name)
    board = load_board(name)
    pll = device_of(board).pll(board.input_clock_mhz, board.clock_mhz)
    top = "tiny", link_params(tmp_path, Fraction(pll.mhz) * 1_000_000 / BAUD), pll
    files = board.platform_class()().prepare(BoardTop(*top), "top").files
    (rendered,) = (text for path, text in files.items() if Path(path).suffix in (".lpf", ".pcf", ".cst"))
    lines = (rendered if isinstance(rendered, str) else rendered.decode()).splitlines()
    assert set(MARGINS[name]) <= set(lines)
    assert board_files(board, *top).constraints.splitlines() == [MARGINS[name].get(line, line) for line in lines]
