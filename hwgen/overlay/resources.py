"""What an engine takes of a device."""

from ..arith import IntType
from ..cost import Memories, Resources
from ..templates.product import product_resources
from .engine import SOFT_STAGES, SUM_BITS, Engine, banks_of
from .exact import MULT_BITS
from .units.memory import BANK
from .units.top import BLOCK

__all__ = ["SOFT", "constants", "engine_resources", "image_resources", "logic", "scratchpad_resources"]

SCALE_BITS, TABLE_BITS = (MULT_BITS, 64), 32  #: of entries of the memories of scales, of which there are two, and tables
SOFT = product_resources(IntType(8, True), IntType(8, True), SOFT_STAGES)  #: of a multiplier made of LUTs
#: Look-up tables and flip-flops of logic: of every engine; for each lane, lane that has a column, column, multiplier, byte of
#: the bus, and for the square of the scratchpad's banks (bytes are turned by as many). With the least largest relative error
#: over the engines of benchmarks/engine_resources.csv.
LOGIC = {"lut": (5619, 562, 177, 171, 14.1, 12.9, 7.5), "ff": (6496, 437.5, 310.7, 37.6, 45.6, 33.1, 2.6)}
#: Of softmax: by itself, for each lane, and for the square of the lanes (as many bytes of each vector are held); synthesised
#: for one to 16 lanes.
SHARES = {"lut": (770, 625, 7.8), "ff": (640, 270, 8.5)}


def engine_resources(engine: Engine, memories: Memories) -> Resources:
    """All of an engine: block RAM as yosys maps it, logic calibrated against synthesis for the ECP5, within 4 %."""
    soft = Resources(lut=SOFT.lut * engine.soft, ff=SOFT.ff * engine.soft, dsp=engine.rows * engine.columns - engine.soft)
    own = logic(engine, engine.bus) + constants(engine, memories)
    return own + scratchpad_resources(engine.banks, engine.scratchpad, memories) + soft


def logic(engine: Engine, bus: int) -> Resources:
    """All but multipliers and memories, with a bus of so many bytes."""
    rows, columns, lanes = engine.rows, engine.columns, engine.lanes
    amounts = (1, lanes, min(lanes, columns), columns, rows * columns, bus, banks_of(rows, columns, lanes, bus) ** 2)
    found = {name: sum(a * n for a, n in zip(amounts, each, strict=True)) for name, each in LOGIC.items()}
    if engine.softmax:
        for name, (alone, each, square) in SHARES.items():
            found[name] += alone + lanes * each + lanes**2 * square
    made = Resources(**{name: round(n) for name, n in found.items()})
    if engine.soft_lanes:  # by what the multipliers are made of: no such engine is among those synthesised
        product, number = product_resources(IntType(SUM_BITS), IntType(engine.digit, False)), min(lanes, columns)
        made += Resources(lut=number * product.lut, ff=number * product.ff)
    return made + Resources(dsp=engine.lane_dsps)


def constants(engine: Engine, memories: Memories) -> Resources:
    """The memories of weights, sums, scales and tables."""
    shared, left = divmod(engine.columns, engine.beside)
    weights = [memories.chosen(engine.weights, 8 * engine.beside)] * shared
    weights += [memories.chosen(engine.weights, 8 * left)] if left else []
    sums = memories.chosen(engine.sums // 2, SUM_BITS)
    depth = engine.scales // engine.lanes
    scales = [
        memories.large(depth, bits, written=True) if depth >= BLOCK else memories.chosen(depth, bits) for bits in SCALE_BITS
    ]
    table = memories.chosen(256, TABLE_BITS)
    counts = [(memory, 1) for memory in weights] + [(memory, engine.lanes) for memory in scales]
    counts += [(sums, 2 * engine.columns), (table, 2 * engine.lanes)]
    if engine.softmax:
        counts.append((memories.large(512, TABLE_BITS, written=True), engine.lanes))
    return Resources(**{name: sum(n * getattr(r, name) for r, n in counts) for name in ("lut", "ff", "bram")})


def scratchpad_resources(banks: int, size: int, memories: Memories) -> Resources:
    """The scratchpad's memory of ``size`` bytes: banks a byte wide, each with a port to read, and one to read or write."""
    each = memories.chosen(size // banks, 8)
    each = memories.large(size // banks, 8, written=True) if each.bram else each + each
    return Resources(lut=each.lut * banks, ff=each.ff * banks, bram=each.bram * banks)


def image_resources(beats: int, bus: int, memories: Memories) -> Resources:
    """Block RAM for so many beats of a bus, where external memory is on chip (:class:`.units.memory.OnChipMemory`)."""
    depths = [min(BANK, beats - first) for first in range(0, beats, BANK)]
    return Resources(bram=sum(memories.blocks(max(2, depth), 8 * bus, written=True) for depth in depths))
