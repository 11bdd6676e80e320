"""What hardware costs: cycles and resources."""

from dataclasses import dataclass, fields

__all__ = ["Cost", "Resources"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of a device or of a design, in the units of a vendor's data sheet.

    Parameters
    ----------
    lut
        4-input look-up tables; a carry cell counts as two.
    ff
        Flip-flops.
    dsp
        Hard multipliers.
    bram
        Block RAMs.
    """

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one template costs for one frame.

    Parameters
    ----------
    cycles
        Initiation interval: cycles from one frame to the next when input is always there and output always taken.
        Exact; tested against simulation.
    resources
        Modelled; calibrated against synthesis.
    """

    cycles: int
    resources: Resources
