"""What cycles depend on: external memory, and the array's shape."""

from dataclasses import dataclass

from .engine import Engine
from .isa import Multiply

__all__ = ["GAP", "MemoryTiming", "array_cycles"]

GAP = 4  #: cycles from an entry of the sums to the next product for the same one, at least


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """When external memory answers.

    Parameters
    ----------
    latency
        Cycles from a read's address to its first beat, and from a write's last beat to its answer. Then a beat in each cycle,
        and up to 16 requests before the first is answered.
    silent, period
        It is silent in ``silent`` of every ``period`` cycles: the first ones, or at random where ``seed`` is not 0.
    """

    latency: int = 10
    silent: int = 0
    period: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latency < 1:
            raise ValueError(f"latency must be positive, not {self.latency!r}")
        if not 0 <= self.silent < max(self.period, 1):
            raise ValueError(f"silent must be in 0..{max(self.period, 1) - 1} (below the period), not {self.silent!r}")

    def cycles(self, beats: int) -> int:
        """That so many beats take."""
        return -(-beats * self.period // (self.period - self.silent)) if self.period else beats


def array_cycles(i: Multiply, engine: Engine) -> int:
    """That the array is at work: for each tile the positions, the words of its weights, or ``GAP``, whatever is most."""
    across = (i.x_count - 1) * i.stride + engine.taps if i.depthwise else i.x_count
    tile = max(across * i.y_count, engine.taps if i.depthwise else engine.rows, GAP)
    return i.k0_count * i.k1_count * i.k2_count * tile
