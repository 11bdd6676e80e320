"""Constants that are contents: registers filled after reset, a bit at a time.

Where a finished configuration is to take other weights, nothing that depends on them may lie in the logic. What a block memory
holds can be replaced there; limits, zero points and the like are settings, which come from such a memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import Memories, Resources

__all__ = ["DEEP", "DELTA", "FIXES", "WINDOWS", "Configurable", "Rounding", "Setting", "loader_depth", "loader_resources",
           "may_give_way", "rounding_of"]  # fmt: skip

WINDOWS = 8  #: for ties, more than the least, that programmable rounding has
DEEP = 33  #: words of a memory that is filled later: synthesis finds no two columns of its placeholders equal
FIXES = 4  #: single results that programmable arithmetic corrects
DELTA = IntType(3)  #: what is added to one


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A number that a component takes after reset."""

    name: str
    element: IntType
    value: int

    def __post_init__(self) -> None:
        if not self.element.min <= self.value <= self.element.max:
            raise ValueError(f"{self.name} must be {self.element}, not {self.value}")


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What :func:`hwgen.arith.round_half_even` and the clamp behind it take of scales and zero points.

    Programmable hardware has ``window`` = -1, or one from that of its parameters on, up to ``WINDOWS`` more.
    """

    window: int
    odd: int
    lo: int
    hi: int

    def settings(self, params: Any) -> tuple[Setting, ...]:
        """For hardware of ``params``: which bits of the fraction's lower end count in a tie, whether there are ties; limits."""
        bits = _tie_bits(params)
        if self.window >= 0 and not params.window <= self.window <= params.window + bits:
            raise ValueError(f"window must be -1 or in {params.window}..{params.window + bits}, not {self.window}")
        counts = (1 << bits) - (1 << max(self.window - params.window, 0))
        return (
            Setting(name="counts", element=IntType(bits, False), value=counts),
            Setting(name="ties", element=IntType(1, False), value=int(self.window >= 0)),
            Setting(name="odd", element=IntType(1, False), value=self.odd),
            Setting(name="lo", element=params.output, value=self.lo),
            Setting(name="hi", element=params.output, value=self.hi),
        )


def _tie_bits(params: Any) -> int:
    """Bits from ``params.window`` on that may count in a tie or not."""
    return min(WINDOWS, params.shift - params.window)


def may_give_way(total: Value, params: Any, settings: Mapping[str, Value]) -> Value:
    """:func:`hwgen.arith.gives_way` with the settings of :class:`Rounding`."""
    start, bits = params.window, _tie_bits(params)
    lower, upper = total[start : start + bits], total[start + bits : params.shift]
    return settings["ties"] & ((lower & settings["counts"]) == 0) & (upper == 0) & (total[params.shift] == settings["odd"])


def rounding_of(params: Any, contents: Rounding | None) -> Rounding:
    """Those of the contents where ``params`` are ``programmable``, else those of ``params``, which has the same attributes."""
    if (contents is not None) != params.programmable:
        raise ValueError(f"limits must be {'given' if params.programmable else 'None'}, not {contents}")
    return contents or Rounding(window=params.window, odd=params.odd, lo=params.lo, hi=params.hi)


def loader_depth(bits: int) -> int:
    """Of the memory that so many bits of settings come from."""
    return max(DEEP, bits)


def loader_resources(bits: int, memories: Memories) -> Resources:
    """That memory, and what counts through it (a carry cell's two LUTs for two bits); nothing without settings."""
    if not bits:
        return Resources()
    address = (loader_depth(bits) - 1).bit_length()
    return memories.large(loader_depth(bits), 1) + Resources(lut=address + address // 3 + 2, ff=address + 3)


class Configurable(wiring.Component):
    """A component that may have settings. All such components of a design make one shift register.

    Members
    -------
    shift_settings : in, take a bit
    settings_i, settings_o : the bit that comes, and the one that leaves for the next component; only where there are settings
    """

    def __init__(self, members: Mapping[str, Any], settings: tuple[Setting, ...] = ()):
        self.settings = settings
        chain = {"shift_settings": In(1), "settings_i": In(1), "settings_o": Out(1)} if settings else {}
        super().__init__({**members, **chain})

    @property
    def setting_bits(self) -> list[int]:
        """In the order in which they enter: those of the first setting first, its lowest bit first."""
        return [s.value >> k & 1 for s in self.settings for k in range(s.element.bits)]

    def set(self, m: Module) -> dict[str, Value]:
        """The settings by name, once the chain is filled."""
        if not self.settings:
            return {}
        register = Signal(sum(s.element.bits for s in self.settings), name="settings", reset_less=True)
        m.d.comb += self.settings_o.eq(register[0])
        with m.If(self.shift_settings):
            m.d.sync += register.eq(Cat(register[1:], self.settings_i))
        values: dict[str, Value] = {}
        at = 0
        for s in self.settings:
            bits = register[at : at + s.element.bits]
            values[s.name] = bits.as_signed() if s.element.signed else bits
            at += s.element.bits
        return values
