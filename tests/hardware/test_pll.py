import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from hwgen.errors import HwgenError
from hwgen.hardware.pll import ecp5_pll, gowin_pll, ice40_pll


def said(pattern, program, *arguments):
    """The number that ``pattern`` finds in what a program of the toolchain says."""
    run = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return float(re.search(pattern, run.stdout)[1])


@pytest.mark.parametrize("mhz", [48, 100, 112.5])
def test_ecp5(mhz):
    pll = ecp5_pll(25, mhz)
    assert abs(said(r"clkout0 frequency: ([\d.]+)", "yowasp-ecppll", "-i", "25", "-o", str(mhz)) - mhz) >= abs(pll.mhz - mhz)
    assert pll.mhz == Fraction(25, pll.reference) * pll.feedback
    assert 400 <= pll.vco <= 800


@pytest.mark.parametrize("mhz", [20, 50])
def test_ice40(mhz):
    pll = ice40_pll(12, mhz)
    assert float(pll.mhz) == said(r"F_PLLOUT: +([\d.]+) MHz \(achieved", "yowasp-icepll", "-i", "12", "-o", str(mhz))


@pytest.mark.parametrize("mhz", [50, 81, 100])
def test_gowin(mhz):
    pll = gowin_pll(27, mhz)
    found = said(r"Achieved output frequency: +([\d.]+)", "gowin_pll", "-i", "27", "-o", str(mhz), "-d", "GW2A-18 C8/I7")
    assert abs(found - mhz) >= abs(float(pll.mhz) - mhz) - 0.001


def test_out_of_reach():
    """Not what the data sheets forbid, nor what is too slow for the serial link."""
    for make, source, low, high in ((ecp5_pll, 25, 12.5, 400), (ice40_pll, 12, 16.125, 270), (gowin_pll, 27, 12, 621)):
        reach = f"{low:g} to {high:g} MHz are in its and the serial link's reach"
        for mhz, near in ((1e9, high), (1e300, high), (5, low), (1e-9, low)):
            message = f"no PLL of this board makes {mhz:g} MHz: {reach}, the nearest is --clock {near:g}"
            with pytest.raises(HwgenError, match=f"^{re.escape(message)}$"):
                make(source, mhz)
            assert make(source, near).mhz == near
    with pytest.raises(
        HwgenError, match=r"^the PLL of this board makes no clock of its oscillator: is input_clock_mhz right\?$"
    ):
        ice40_pll(5, 20)
