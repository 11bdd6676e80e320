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

__all__ = ["DELTA", "FIXES", "Configurable", "Limits", "Setting", "limits_of"]

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
class Limits:
    """What :func:`hwgen.arith.round_half_even` and the clamp behind it take of zero points: ``odd``, ``lo``, ``hi``."""

    odd: int
    lo: int
    hi: int

    def settings(self, output: IntType) -> tuple[Setting, ...]:
        """For a result of type ``output``."""
        return (
            Setting(name="odd", element=IntType(1, False), value=self.odd),
            Setting(name="lo", element=output, value=self.lo),
            Setting(name="hi", element=output, value=self.hi),
        )


def limits_of(params: Any, contents: Limits | None) -> Limits:
    """Those of the contents where ``params`` are ``programmable``, else those of ``params``, which has the same attributes."""
    if (contents is not None) != params.programmable:
        raise ValueError(f"limits must be {'given' if params.programmable else 'None'}, not {contents}")
    return contents or Limits(odd=params.odd, lo=params.lo, hi=params.hi)


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
