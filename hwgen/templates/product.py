"""Multipliers with registers between their steps: of DSP blocks, and of look-up tables and carry chains where none is left."""

from amaranth import Module, Shape, Signal, Value, signed

from ..arith import IntType
from ..cost import Resources

__all__ = ["DSP_STAGES", "dsp_product", "product_resources", "product_stages", "soft_product"]

DSP_BITS = 18  #: of an operand, signed
DSP_STAGES = 3  #: registers from the operands to a product of two DSPs: before them, behind them, behind the sum


def _levels(bits: int) -> list[list[tuple[int, int]]]:
    """For each stage the parts of the multiplier that its sums cover, as (lowest bit, bits): pairs, then twice as many."""
    levels = [[(k, min(2, bits - k)) for k in range(0, bits, 2)]]
    while len(levels[-1]) > 1:
        parts = levels[-1]
        levels.append([(low[0], sum(n for _, n in parts[i : i + 2])) for i, low in enumerate(parts) if i % 2 == 0])
    return levels


def product_stages(weight: IntType) -> int:
    """Registers from the operands to the product."""
    return len(_levels(weight.bits))


def _width(operand: IntType, bits: int) -> int:
    """Of a signed product of the operand and a number of so many bits."""
    return operand.bits + bits + (not operand.signed)


def product_resources(operand: IntType, weight: IntType, stages: int | None = None) -> Resources:
    """Of one multiplier: each bit of each sum is one LUT4 of a carry chain, in which the gates of the first stage find room.

    A sum's bits below those that its upper part reaches cost no adder; nor does a part alone. A register for each bit.
    ``stages``: as of :func:`soft_product`.
    """
    lut = ff = 0
    levels = _levels(weight.bits)
    for level, parts in enumerate(levels):
        for _, n in parts:
            ff += _width(operand, n) * _registered(level, levels, stages)
            below = 2**level if level else 0  # bits of the lower part that pass by
            if level == 0 or n > below:
                lut += -(-(_width(operand, n) - below) // 2) * 2  # carry cells have two LUT4
    return Resources(lut=lut, ff=ff)


def dsp_product(m: Module, operand: Value, weight: Value, name: str, stages: int) -> Signal:
    """``operand · weight``, ``stages`` cycles later: signed, of as many bits as both together.

    The first register, if there are two, holds the operands, the next one the product; both are in the DSP. An operand of more
    bits than a DSP's takes two of these, and a sum.

    Parameters
    ----------
    operand
        Signed, up to 34 bits.
    weight
        Up to 18 bits with its sign.
    stages
        At least 1, and at least ``DSP_STAGES`` for two DSPs.
    """

    def register(value: Value, what: str, shape: Shape) -> Signal:
        held = Signal(shape, name=f"{name}_{what}", reset_less=True)
        m.d.sync += held.eq(value)
        return held

    whole = signed(len(operand) + len(weight))
    cut = DSP_BITS - 1
    parts: list[Value] = [operand] if len(operand) <= DSP_BITS else [operand[:cut], operand[cut:].as_signed()]
    if stages > 1:
        weight = register(weight, "weight", weight.shape())
        parts = [register(part, f"operand_{k}", part.shape()) for k, part in enumerate(parts)]
    products = [part * weight for part in parts]
    for stage in range(stages - 2):
        products = [register(product, f"product_{k}_{stage}", product.shape()) for k, product in enumerate(products)]
    return register(sum(product << (k * cut) for k, product in enumerate(products)), "product", whole)


def _registered(level: int, levels: list[list[tuple[int, int]]], stages: int | None) -> bool:
    """Whether a register is behind the sums of a level."""
    return stages is None or level < stages - 1 or level == len(levels) - 1


def soft_product(m: Module, operand: Value, weight: Value, name: str, stages: int | None = None) -> Value:
    """``operand · weight``, ``product_stages`` cycles later: signed, of as many bits as both together.

    The weight's bits, two at a time, gate the operand (a carry cell's LUT4 adds two gated bits); the sums are added in pairs.
    The highest bit of a signed weight counts negative.

    Parameters
    ----------
    operand, weight
        Of any signedness; the operand's bits are gated, the weight's gate.
    stages
        Fewer cycles, at least 1: no registers between the last sums.
    """
    bits, width = len(weight), len(operand)

    def gated(k: int) -> Value:
        masked = operand[:] & weight[k].replicate(width)
        return masked.as_signed() if operand.shape().signed else masked

    levels = _levels(bits)

    def held(value: Value, low: int, n: int, stage: int) -> Signal:
        part = Signal(signed(width + n + 1 - operand.shape().signed), name=f"{name}_{stage}_{low}", reset_less=True)
        domain = m.d.sync if _registered(stage, levels, stages) else m.d.comb
        domain += part.eq(value)
        return part

    def pair(low: int, n: int) -> Value:
        negative = weight.shape().signed and low + n == bits
        top = gated(low + n - 1) << (n - 1)
        below = gated(low) if n > 1 else 0
        return below - top if negative else below + top

    parts = [held(pair(low, n), low, n, 0) for low, n in levels[0]]
    for stage in range(1, len(levels)):
        sums = []
        for i, (low, n) in enumerate(levels[stage]):
            low_part, *high_part = parts[2 * i : 2 * i + 2]
            value = sum((high << 2**stage for high in high_part), low_part)
            sums.append(held(value, low, n, stage))
        parts = sums
    return parts[0]
