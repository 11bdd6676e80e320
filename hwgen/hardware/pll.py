"""Clocks made from a board's oscillator: the dividers of each family's PLL, found by trying them all."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from amaranth import Const, Instance, Module, Signal

from ..errors import HwgenError
from .link import BAUD

__all__ = ["Ecp5Pll", "GowinPll", "Ice40Pll", "Pll", "ecp5_pll", "gowin_pll", "ice40_pll", "nearest"]

SLOWEST = 4 * BAUD / 1e6  #: MHz: a bit of the serial line takes at least four cycles


class Pll(Protocol):
    """A PLL with its dividers."""

    @property
    def mhz(self) -> Fraction:
        """Of the clock it makes."""

    def add(self, m: Module, source: Any, clock: Signal) -> Signal:
        """Put it into ``m``, between ``source`` and ``clock``; returns whether it is locked."""


@dataclass(frozen=True)
class Ecp5Pll:
    """EHXPLLL (Lattice FPGA-TN-02200, ECP5 sysCLOCK usage guide), its output fed back; ``source``: a signal."""

    input_mhz: Fraction
    reference: int
    feedback: int
    output: int

    @property
    def mhz(self) -> Fraction:
        return self.input_mhz / self.reference * self.feedback

    @property
    def vco(self) -> Fraction:
        return self.mhz * self.output

    def add(self, m: Module, source: Any, clock: Signal) -> Signal:
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            ("a", "FREQUENCY_PIN_CLKI", str(float(self.input_mhz))),
            ("a", "FREQUENCY_PIN_CLKOP", str(float(self.mhz))),
            ("a", "ICP_CURRENT", "12"),
            ("a", "LPF_RESISTOR", "8"),
            ("a", "MFG_ENABLE_FILTEROPAMP", "1"),
            ("a", "MFG_GMCREF_SEL", "2"),
            p_CLKI_DIV=self.reference,
            p_CLKFB_DIV=self.feedback,
            p_CLKOP_DIV=self.output,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=self.output // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            i_CLKI=source,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        return locked


@dataclass(frozen=True)
class Ice40Pll:
    """SB_PLL40_PAD (Lattice FPGA-TN-02052, iCE40 sysCLOCK PLL guide), simple feedback; ``source``: the clock's pad."""

    input_mhz: Fraction
    reference: int
    feedback: int
    output: int  #: exponent of two

    @property
    def mhz(self) -> Fraction:
        return self.vco / 2**self.output

    @property
    def vco(self) -> Fraction:
        return self.input_mhz / self.reference * self.feedback

    def add(self, m: Module, source: Any, clock: Signal) -> Signal:
        locked = Signal()
        limits = (17, 26, 44, 66, 101)  # MHz at the phase detector, of the filter's ranges 1 to 5
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self.reference - 1, 4),
            p_DIVF=Const(self.feedback - 1, 7),
            p_DIVQ=Const(self.output, 3),
            p_FILTER_RANGE=Const(1 + sum(self.input_mhz / self.reference >= limit for limit in limits), 3),
            io_PACKAGEPIN=source,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )
        return locked


@dataclass(frozen=True)
class GowinPll:
    """rPLL (Gowin UG286, clock resources user guide); ``source``: a signal."""

    input_mhz: Fraction
    reference: int
    feedback: int
    output: int
    device: str

    @property
    def mhz(self) -> Fraction:
        return self.input_mhz / self.reference * self.feedback

    @property
    def vco(self) -> Fraction:
        return self.mhz * self.output

    def add(self, m: Module, source: Any, clock: Signal) -> Signal:
        locked = Signal()
        m.submodules.pll = Instance(
            "rPLL",
            p_DEVICE=self.device,
            p_FCLKIN=str(float(self.input_mhz)),
            p_IDIV_SEL=self.reference - 1,
            p_FBDIV_SEL=self.feedback - 1,
            p_ODIV_SEL=self.output,
            p_DYN_IDIV_SEL="false",
            p_DYN_FBDIV_SEL="false",
            p_DYN_ODIV_SEL="false",
            p_DYN_SDIV_SEL=2,
            p_DYN_DA_EN="false",
            p_PSDA_SEL="0000",
            p_DUTYDA_SEL="1000",
            p_CLKFB_SEL="internal",
            p_CLKOUT_BYPASS="false",
            p_CLKOUTP_BYPASS="false",
            p_CLKOUTD_BYPASS="false",
            p_CLKOUTD_SRC="CLKOUT",
            p_CLKOUTD3_SRC="CLKOUT",
            p_CLKOUT_FT_DIR=Const(1, 1),
            p_CLKOUT_DLY_STEP=0,
            i_CLKIN=source,
            i_CLKFB=Const(0),
            i_RESET=Const(0),
            i_RESET_P=Const(0),
            i_FBDSEL=Const(0, 6),
            i_IDSEL=Const(0, 6),
            i_ODSEL=Const(0, 6),
            i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
            o_CLKOUT=clock,
            o_LOCK=locked,
        )
        return locked


_P = TypeVar("_P", bound=Pll)


def ecp5_pll(input_mhz: float, mhz: float) -> Ecp5Pll:
    """Nearest to ``mhz``; phase detector at 3.125–400 MHz, VCO at 400–800 MHz. ``HwgenError`` beyond 10–400 MHz."""
    source = Fraction(input_mhz).limit_denominator(1000)
    return nearest(
        (
            Ecp5Pll(source, r, f, o)
            for r in range(1, 129)
            for f in range(1, 81)
            if Fraction("3.125") <= source / r <= 400
            for o in range(1, 129)
            if 400 <= source / r * f * o <= 800 and source / r * f <= 400
        ),
        mhz,
    )


def ice40_pll(input_mhz: float, mhz: float) -> Ice40Pll:
    """Nearest to ``mhz``; phase detector at 10–133 MHz, VCO at 533–1066 MHz. ``HwgenError`` beyond 16–275 MHz."""
    source = Fraction(input_mhz).limit_denominator(1000)
    return nearest(
        (
            Ice40Pll(source, r, f, o)
            for r in range(1, 17)
            if 10 <= source / r <= 133
            for f in range(1, 129)
            if 533 <= source / r * f <= 1066
            for o in range(1, 7)
            if 16 <= source / r * f / 2**o <= 275
        ),
        mhz,
    )


def gowin_pll(input_mhz: float, mhz: float, device: str = "GW2A-18") -> GowinPll:
    """Nearest to ``mhz``; of the GW2A: phase detector at 3–500 MHz, VCO at 500–1250 MHz."""
    source = Fraction(input_mhz).limit_denominator(1000)
    return nearest(
        (
            GowinPll(source, r, f, o, device)
            for r in range(1, 65)
            if 3 <= source / r <= 500
            for f in range(1, 65)
            for o in (2, 4, 8, *range(16, 129, 16))
            if 500 <= source / r * f * o <= 1250
        ),
        mhz,
    )


def nearest(found: Iterable[_P], mhz: float) -> _P:
    """Of the nearest to ``mhz`` the first, not slower than the serial link needs; ``HwgenError`` where none is within 5 %."""
    asked, plls = Fraction(mhz).limit_denominator(1000), [pll for pll in found if pll.mhz >= SLOWEST]
    if not plls:
        raise HwgenError("the PLL of this board makes no clock of its oscillator: is input_clock_mhz right?")
    best = min(plls, key=lambda pll: abs(pll.mhz - asked))
    if abs(best.mhz - asked) > asked / 20:
        low, high = (float(bound(pll.mhz for pll in plls)) for bound in (min, max))
        raise HwgenError(
            f"no PLL of this board makes {mhz:g} MHz: {low:g} to {high:g} MHz are in its and the serial link's reach, "
            f"the nearest is --clock {float(best.mhz):g}"
        )
    return best
