"""When the sequential engine is done with what: a sum, as nothing happens at once."""

from collections.abc import Iterator, Sequence

from ..engine import Engine
from ..isa import Instruction
from .sequencer import AFTER, BEFORE
from .words import Job, Kind, job, words

__all__ = ["BYTE", "WORD", "cycles", "spans"]

BYTE = 4  #: cycles of a byte of a frame, if it is there, or taken, at once
WORD = 2  #: cycles of a word of the program


def cycles(jobs: Sequence[Job]) -> Iterator[int]:
    """Of each, from its first word until the next one's."""
    for j, written in zip(jobs, words(jobs, 0), strict=True):
        match j.kind:
            case Kind.END:
                work = 0
            case Kind.MULTIPLY:  # a cycle more for each position
                work = BEFORE + j.rounds + j.loops[4].count * j.loops[5].count + AFTER
            case Kind.INPUT | Kind.OUTPUT:
                work = BEFORE + BYTE * j.rounds + AFTER
            case _:
                work = BEFORE + j.rounds + AFTER
        yield WORD * len(written) + work


def spans(program: Sequence[Instruction], engine: Engine) -> list[tuple[int, int]]:
    """The cycles since the start in which each instruction begins, and in which it ends."""
    found, now = [], 0
    for length in cycles([job(i, engine) for i in program]):
        found.append((now, now + length))
        now += length
    return found
