"""Instructions, and accesses to the scratchpad, as Amaranth layouts."""

from amaranth import Cat, Const, Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine import Engine
from ..isa import INSTRUCTIONS, OPCODE, Instruction, Softmax, Unit, layout

__all__ = [
    "UNCHECKED",
    "Access",
    "Finished",
    "Results",
    "Target",
    "chunk",
    "delayed",
    "fields_of",
    "first_bytes",
    "instruction_layout",
    "instructions",
    "kinds_of",
    "port_signature",
    "reader_members",
    "rest",
    "tables_side",
]

UNCHECKED = {"no_rw_check": 1}  #: of memories: what is read while the same word is written is never used


def instruction_layout(kind: type[Instruction]) -> data.StructLayout:
    """The fields of ``kind``, from the lowest bits on, without the opcode."""
    return data.StructLayout({f.name: Shape(f.metadata["bits"], f.metadata["signed"]) for f in layout(kind)})


def instructions(*kinds: type[Instruction]) -> stream.Signature:
    """A stream of instructions of a unit: the bits of its longest kind, the opcode lowest."""
    return stream.Signature(unsigned(OPCODE + max(instruction_layout(kind).size for kind in kinds)))


def kinds_of(unit: Unit, engine: Engine) -> tuple[type[Instruction], ...]:
    """What a unit carries out."""
    return tuple(kind for kind in INSTRUCTIONS if kind.unit == unit and (kind is not Softmax or engine.softmax))


def fields_of(kind: type[Instruction], word: Value) -> data.View:
    """The fields in a word of :func:`instructions`."""
    shape = instruction_layout(kind)
    return data.View(shape, word[OPCODE : OPCODE + shape.size])


def chunk(bytes_per_word: int, words: int) -> data.ArrayLayout:
    """``words`` elements of so many bytes."""
    return data.ArrayLayout(unsigned(8 * bytes_per_word), words)


def rest(count: Value, lanes: int) -> Value:
    """How many of ``count`` are in the last word of ``lanes``, a power of two: 1..lanes."""
    bits = lanes.bit_length() - 1
    return ((count - 1)[:bits] if bits else 0) + 1


class Access(data.StructLayout):
    """An access to the scratchpad at ``address``: bytes of ``mask`` are written; what is read has always all banks' bytes."""

    def __init__(self, engine: Engine):
        super().__init__(
            {
                "write": unsigned(1),
                "address": unsigned(engine.address_bits),
                "mask": unsigned(engine.banks),
                "data": chunk(1, engine.banks),
            }
        )


def first_bytes(count: Value, banks: int) -> Value:
    """The mask of the first ``count`` of ``banks`` bytes."""
    most = (1 << len(count)) - 1
    return Cat(count > k if k < most else Const(0, 1) for k in range(banks))


def port_signature(engine: Engine, always_ready: bool = False) -> stream.Signature:
    """A stream of accesses: reads and writes happen in its order."""
    return stream.Signature(Access(engine), always_ready=always_ready)


class Finished(wiring.Signature):
    """What a unit says when an instruction is done: for one cycle ``done``, with the units to tell."""

    def __init__(self) -> None:
        super().__init__({"done": Out(1), "signal": Out(4)})


class Target(data.StructLayout):
    """Where ``count`` bytes of a result go; ``ends``: these are the instruction's last, tell the units of ``signal``."""

    def __init__(self, engine: Engine):
        super().__init__({"address": engine.address_bits, "count": range(engine.lanes + 1), "ends": 1, "signal": 4})


def reader_members(engine: Engine, *kinds: type[Instruction]) -> dict[str, wiring.Member]:
    """Members of a part of the vector unit that reads the scratchpad.

    i : instructions
    valid, address : reads of the scratchpad; none where there is a result to write
    x : the bytes, `VECTOR_LATENCY` cycles later
    issued, results : as of :class:`~hwgen.overlay.units.drain.DrainUnit`
    """
    return {
        "i": In(instructions(*kinds)),
        "valid": Out(1),
        "address": Out(engine.address_bits),
        "x": In(chunk(1, engine.banks)),
        "issued": Out(1),
        "results": Out(Results(engine)),
    }


def tables_side() -> dict[str, wiring.Member]:
    """Members of a part that has tables: whether a word is written there, the entry, the word."""
    return {"write": In(1), "write_entry": In(9), "write_data": In(signed(32))}


class Results(wiring.Signature):
    """Results of a part of the vector unit: taken at once."""

    def __init__(self, engine: Engine):
        super().__init__({"valid": Out(1), "target": Out(Target(engine)), "data": Out(chunk(1, engine.lanes))})


def delayed(m: Module, value: Value, cycles: int, name: str, *, reset_less: bool = False) -> Value:
    """``value`` so many cycles later. ``reset_less``: where nothing follows from it by itself."""
    for k in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{k}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
