"""Shape of an overlay engine."""

from dataclasses import dataclass

import numpy as np

from ..arith import IntType
from ..templates.product import DSP_STAGES, product_stages
from .isa import Place

__all__ = ["SINGLE_PORT", "SOFT_STAGES", "SUM_BITS", "Engine", "banks_of"]

SUM_BITS = 32  #: of a sum
SOFT_STAGES = 2  #: of a multiplier made of LUTs
LANE_DSPS = 2  #: of a lane's multiplier
BLOCK_BYTES, BLOCK_WIDTH = 1 << 11, 4  #: of a block RAM, its widest word
SINGLE_PORT = 1 << 16  #: bytes of a sequential engine's scratchpad at most, and of its external memory


def banks_of(rows: int, columns: int, lanes: int, bus: int) -> int:
    """Of the scratchpad: as many as its widest user takes bytes, up to a power of two."""
    return 1 << (max(rows, columns, lanes, bus) - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What a program is made for.

    Parameters
    ----------
    rows, columns
        Of the array of multipliers: an activation for each row, a sum for each column.
    lanes
        Elements that the vector unit works on at a time.
    taps
        Rows that work in depthwise mode.
    scratchpad
        Bytes of the memory of activations: a multiple of ``banks``.
    weights
        Entries of the memory of weights, ``columns`` bytes each.
    sums
        Entries of the memory of sums, ``columns`` sums each.
    scales
        Entries of the memory of scales, one for each channel.
    bus
        Bytes of the data bus to external memory: 4, 8, 16 or 32.
    digit
        Bits of a multiplier that a lane's requantiser takes in a cycle: 8 or 16.
    soft
        How many of the multipliers are made of LUTs instead of DSPs.
    soft_lanes
        Whether the lanes' multipliers are made of LUTs too, instead of ``LANE_DSPS`` DSPs each.
    softmax
        Whether the vector unit has datapaths for it, one for each lane.
    sequential
        Whether instructions are carried out one after the other, by the hardware of :mod:`hwgen.overlay.small`.
    """

    rows: int
    columns: int
    lanes: int
    taps: int = 3
    scratchpad: int
    weights: int
    sums: int = 1024
    scales: int = 1024
    bus: int = 8
    digit: int = 8
    soft: int = 0
    soft_lanes: bool = False
    softmax: bool = False
    sequential: bool = False

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "lanes", "taps", "scratchpad", "weights", "sums", "scales"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)!r}")
        if self.bus not in (4, 8, 16, 32):
            raise ValueError(f"bus must be 4, 8, 16 or 32 bytes, not {self.bus!r}")
        if self.digit not in (8, 16):
            raise ValueError(f"digit must be 8 or 16, not {self.digit!r}")
        for name in ("lanes", "sums"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ValueError(f"{name} must be a power of two, not {getattr(self, name)!r}")
        if self.sums < 2:
            raise ValueError(f"sums must be at least 2, not {self.sums!r}")
        if self.scales % self.lanes:
            raise ValueError(f"scales must be a multiple of {self.lanes} (lanes), not {self.scales!r}")
        if not 0 <= self.soft <= self.rows * self.columns:
            raise ValueError(f"soft must be in 0..{self.rows * self.columns} (multipliers), not {self.soft!r}")
        if self.taps > self.rows:
            raise ValueError(f"taps must be at most {self.rows} (rows), not {self.taps!r}")
        if self.scratchpad % self.banks:
            raise ValueError(f"scratchpad must be a multiple of {self.banks} bytes (banks), not {self.scratchpad!r}")
        if self.sequential:
            for name, only in (
                ("rows", 1),
                ("columns", 4),
                ("taps", 1),
                ("lanes", 1),
                ("bus", 4),
                ("digit", 16),
                ("soft", 0),
                ("softmax", False),
            ):
                if getattr(self, name) != only:
                    raise ValueError(f"{name} must be {only} where instructions follow each other, not {getattr(self, name)!r}")
            if self.scratchpad > SINGLE_PORT:
                raise ValueError(f"scratchpad must be at most {SINGLE_PORT} bytes (SPRAM), not {self.scratchpad!r}")

    @property
    def banks(self) -> int:
        """Of the scratchpad, a byte wide each: a power of two, so that an address says which one without a division."""
        return banks_of(self.rows, self.columns, self.lanes, self.bus)

    @property
    def address_bits(self) -> int:
        """Of an address in the scratchpad."""
        return (self.scratchpad - 1).bit_length()

    def entry_bytes(self, place: Place) -> int:
        """Of an entry of a memory."""
        return {Place.SCRATCHPAD: 1, Place.WEIGHTS: self.columns, Place.SCALES: 16, Place.TABLES: 4}[place]

    def beats_of(self, place: Place) -> int:
        """Beats of the bus that an entry takes, or several share."""
        return -(-self.entry_bytes(place) // self.bus)

    def entries_of(self, place: Place) -> int:
        """Entries that share a beat."""
        return max(1, self.bus // self.entry_bytes(place))

    def laid_out(self, place: Place, entries: np.ndarray) -> np.ndarray:
        """Entries (n, bytes) as a Load wants them in external memory; the last beat filled up with entries of zeros."""
        count, size = entries.shape
        share = self.entries_of(place)
        groups = np.zeros((-(-count // share), share, size), np.uint8)
        groups.reshape(-1, size)[:count] = entries
        beats = np.zeros((len(groups), self.beats_of(place) * self.bus), np.uint8)
        beats[:, : share * size] = groups.reshape(len(groups), -1)
        return beats.reshape(-1)

    def entries_in(self, place: Place, content: np.ndarray) -> np.ndarray:
        """The entries (n, bytes) of what :meth:`laid_out` has made; ``IndexError`` unless it is whole ones."""
        group = self.beats_of(place) * self.bus
        if content.size % group:
            raise IndexError(f"{content.size} bytes must be groups of {group}")
        size, share = self.entry_bytes(place), self.entries_of(place)
        return content.reshape(-1, group)[:, : share * size].reshape(-1, size)

    @property
    def beside(self) -> int:
        """Columns whose weights share a memory: as many as a block RAM has bits for at that depth."""
        return max(1, min(BLOCK_BYTES // self.weights, BLOCK_WIDTH))

    @property
    def product_stages(self) -> int:
        """Cycles from activations to products: a DSP alone takes one, two with a register before it, as one of LUTs does."""
        return SOFT_STAGES if self.soft else 1

    @property
    def array_latency(self) -> int:
        """Cycles from activations to sums: a register for them, one before the multipliers, product, adder tree."""
        return 2 + self.product_stages + (self.rows - 1).bit_length()

    @property
    def lane_dsps(self) -> int:
        """DSPs of the lanes' multipliers; a lane without a column has nothing to multiply."""
        return 0 if self.soft_lanes else LANE_DSPS * min(self.lanes, self.columns)

    @property
    def lane_stages(self) -> int:
        """Cycles of a lane's multiplier."""
        return product_stages(IntType(self.digit, False)) if self.soft_lanes else DSP_STAGES

    @property
    def drain_latency(self) -> int:
        """Cycles from a lot's last step to its result: scales and sums, the multiplier, sum, and seven for rounding."""
        return 4 + self.lane_stages + 8

    def place(self, shift: int, steps: int) -> int:
        """Where the binary point of a Drain lies; one of ``isa.PLACES``."""
        return shift - 2 - self.digit // 4 * (steps - 1)

    def padded(self, size: int) -> int:
        """``size`` bytes, up to whole beats of the bus."""
        return -(-size // self.bus) * self.bus
