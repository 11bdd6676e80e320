"""How many cycles instructions take."""

from .engine import Engine
from .isa import Multiply

__all__ = ["GAP", "cycles"]

GAP = 4  #: cycles from an entry of the sums to the next product for the same one, at least


def cycles(i: Multiply, engine: Engine) -> int:
    """That the array is at work: for each tile the positions, the words of its weights, or ``GAP``, whatever is most."""
    across = (i.x_count - 1) * i.stride + engine.taps if i.depthwise else i.x_count
    tile = max(across * i.y_count, engine.taps if i.depthwise else engine.rows, GAP)
    return i.k0_count * i.k1_count * i.k2_count * tile
