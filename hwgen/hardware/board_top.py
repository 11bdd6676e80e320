"""What a board runs: its oscillator through a PLL, the accelerator, its link at the serial pins."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from ..board import Board
from .link import Linked, LinkParams
from .pll import Ice40Pll, Pll

__all__ = ["BoardFiles", "BoardTop", "board_files"]

MARGIN = 1.02  #: where nextpnr's router says that all is in time, a way may still be one per cent too slow


class BoardTop(Elaboratable):
    """The accelerator, module ``name`` of its own Verilog, on a board of amaranth-boards.

    Reset lasts until the PLL is locked.
    """

    def __init__(self, name: str, params: LinkParams, pll: Pll):
        self.name, self.params, self.pll = name, params, pll

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        oscillator = platform.request(platform.default_clk, dir="-")
        m.domains.sync = sync = ClockDomain()
        clock = Signal()
        if isinstance(self.pll, Ice40Pll):  # it has the pad for itself
            locked = self.pll.add(m, oscillator.io, clock)
        else:
            m.submodules.oscillator = buffer = io.Buffer("i", oscillator)
            locked = self.pll.add(m, buffer.i, clock)
        m.d.comb += sync.clk.eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        m.submodules.linked = linked = Linked(self.name, self.params)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [linked.rx.eq(rx.i), tx.o.eq(linked.tx)]
        return m


@dataclass(frozen=True)
class BoardFiles:
    """The top as RTLIL, and its pins and clocks as nextpnr reads them."""

    rtlil: str
    constraints: str


def board_files(board: Board, name: str, params: LinkParams, pll: Pll) -> BoardFiles:
    """As Amaranth renders them for the platform of ``board``."""
    platform_class = board.platform_class()
    if platform_class is None:
        raise ValueError(f"board must have a platform, which {board.name} does not")
    plan = platform_class().prepare(BoardTop(name, params, pll), "top")
    (constraints,) = (text for path, text in plan.files.items() if Path(path).suffix in (".lpf", ".pcf", ".cst"))
    return BoardFiles(_text(plan.files["top.il"]), _with_margin(_text(constraints)))


def _with_margin(constraints: str) -> str:
    """The oscillator of an ECP5 faster than it is, from which nextpnr derives what it asks of the PLL's clock."""

    def faster(clock: re.Match[str]) -> str:
        return f"{clock[1]} {MARGIN * float(clock[2])} HZ"

    return re.sub(r'^(FREQUENCY PORT "\S+") (\S+) HZ', faster, constraints, flags=re.MULTILINE)


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()
