"""Matrix-vector product: the multiplications of convolutions and dense layers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve
from .mac import LOGIC_DEPTH, Mac, MacParams, Weights, check_sums, pass_through
from .pieces import check_counts

__all__ = ["MatrixVector", "MatrixVectorParams", "Weights"]

CHUNK = 1 << 24  #: elements that ``compute`` works on at a time, to bound its memory


@dataclass(frozen=True, kw_only=True)
class MatrixVectorParams:
    """Weighted sums of windows: ``Σ values[group, c, t, s] · x[t, s]`` for each window, group and channel c of the group.

    Input: ``words`` words of ``sources`` elements for each window and group. Output: ``folds`` words of ``pe`` sums, channel
    f · pe + p in element p of word f; elements beyond ``channels`` are zero.

    ``packing`` input words make an operand word. A buffer of two windows' operand words fills with one window while the other
    is read once for each fold; words are freed as the last fold reads them. Output stationary: ``pe`` accumulators.

    Parameters
    ----------
    operand, weight, accumulator
        Types. Weight and accumulator are signed; the accumulator holds every final sum (sums on the way may wrap).
    vectors
        Windows of a frame.
    words
        Input words of one window and group.
    sources
        Elements of an input word.
    packing
        Input words of one operand word.
    channels
        Outputs of one group.
    pe
        Outputs computed at the same time.
    soft
        Multipliers made of LUTs instead of DSPs.
    programmable
        Whether the weights are in block RAM in any case.
    """

    operand: IntType
    weight: IntType
    accumulator: IntType
    vectors: int
    groups: int = 1
    words: int
    sources: int
    packing: int = 1
    channels: int
    pe: int
    soft: int = 0
    programmable: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "vectors", "groups", "words", "sources", "channels")
        if not 1 <= self.packing <= self.words:
            raise ValueError(f"packing must be in 1..{self.words} (words), not {self.packing!r}")
        if not 1 <= self.pe <= self.channels:
            raise ValueError(f"pe must be in 1..{self.channels} (channels), not {self.pe!r}")
        self.mac.check()

    @property
    def inputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.operand, lanes=self.sources, words=self.vectors * self.groups * self.words),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.accumulator, lanes=self.pe, words=self.vectors * self.groups * self.folds),)

    @property
    def depth(self) -> int:
        """Operand words of one window and group."""
        return -(-self.words // self.packing)

    @property
    def folds(self) -> int:
        """How often they are read: output words of one window and group."""
        return -(-self.channels // self.pe)

    @property
    def multipliers(self) -> int:
        return self.sources * self.packing * self.pe

    @property
    def buffered(self) -> bool:
        """Whether operands pass a memory; if not, every input word is an operand word that is read once."""
        return self.folds > 1 or self.packing > 1

    @property
    def mac(self) -> MacParams:
        return MacParams(
            operand=self.operand,
            weight=self.weight,
            accumulator=self.accumulator,
            lanes=self.sources * self.packing,
            outputs=self.pe,
            terms=self.sources * self.packing,
            steps=self.depth,
            depth=self.groups * self.folds * self.depth,
            soft=self.soft,
            programmable=self.programmable,
        )

    def _checked(self, weights: Weights) -> np.ndarray:
        return weights.checked((self.groups, self.channels, self.words, self.sources), self.weight)

    def compute(self, x: Words, contents: Weights) -> Words:
        """The sums, by float64 matrix products: exact, since sums of up to 52 bits and all their parts are below 2**53.

        Raises ``ValueError`` where a sum exceeds the accumulator.
        """
        matrices = self._checked(contents).reshape(self.groups, self.channels, -1).transpose(0, 2, 1).astype(np.float64)
        vectors = x.reshape(-1, self.groups, self.words * self.sources)
        sums = np.zeros((len(vectors), self.groups, self.folds * self.pe), np.int64)
        rows = max(1, CHUNK // (self.groups * max(self.words * self.sources, self.channels)))
        for i in range(0, len(vectors), rows):
            part = vectors[i : i + rows].transpose(1, 0, 2).astype(np.float64)
            sums[i : i + rows, :, : self.channels] = (part @ matrices).transpose(1, 0, 2)
        return check_sums(sums.reshape(-1, self.pe), self.accumulator)

    def rom(self, contents: Weights) -> np.ndarray:
        """The weight memory: integers (groups · folds · depth, pe, packing · sources)."""
        shape = self.groups, self.folds * self.pe, self.depth * self.packing, self.sources
        rom = np.zeros(shape, np.int64)
        whole = (self.depth - 1) * self.packing  # the last operand word may be partial: its words are the highest
        values = self._checked(contents)
        rom[:, : self.channels, :whole] = values[:, :, :whole]
        rom[:, : self.channels, shape[2] - (self.words - whole) :] = values[:, :, whole:]
        split = rom.reshape(self.groups, self.folds, self.pe, self.depth, -1)
        return split.transpose(0, 1, 3, 2, 4).reshape(-1, self.pe, self.packing * self.sources)

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled beyond the arithmetic: operand memory, shift register, counters.

        Above ``LOGIC_DEPTH`` words the memory is block RAM, which has the first register behind it, too, unless in banks.
        """
        resources = self.mac.resources(memories)
        if self.buffered:
            bits, words = self.sources * self.packing * self.operand.bits, 2 * self.depth
            counters = 4 * words.bit_length() + self.words.bit_length() + self.packing.bit_length() + self.folds.bit_length()
            ff = (self.packing - 1) * self.sources * self.operand.bits + counters
            if words > LOGIC_DEPTH:
                memory = memories.large(words, bits, written=True)
                resources += Resources(lut=2 * counters, ff=ff if memory.lut else ff - bits) + memory
            else:
                resources += Resources(lut=2 * counters, ff=ff) + memories.small(words, bits)
        else:
            resources += Resources(ff=self.inputs[0].bits)
        cycles = self.vectors * self.groups * max(self.words, self.depth * self.folds)
        return Cost(cycles=cycles, resources=resources)

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        """Fold 0 reads operand words from the cycle after they were written on; the other folds follow without a pause.

        That a full buffer keeps words waiting does not matter: its reader is busy for longer.
        """
        taken = serve(arrivals).reshape(-1, self.words)
        if not self.buffered:
            return taken[:, -1] + self.mac.latency
        ends = np.minimum(np.arange(1, self.depth + 1) * self.packing, self.words) - 1
        busy = np.ones((len(taken), self.depth), np.int64)
        busy[:, -1] += self.depth * (self.folds - 1)
        reads = serve(taken[:, ends].ravel() + 1, busy.ravel()).reshape(-1, self.depth)
        return (reads[:, -1:] + self.depth * np.arange(self.folds)).ravel() + self.mac.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k // self.folds + 1) * self.words

    def accepted(self, k: Any, port: int = 0) -> Any:
        """What the steps up to output ``k``, those in the pipeline behind it, and a full buffer have taken."""
        steps = self.mac.started(k)
        if not self.buffered:
            return steps
        window, step = np.divmod(steps, self.depth * self.folds)
        written = (window + 2) * self.depth + np.maximum(0, step - self.depth * (self.folds - 1))
        window, word = np.divmod(written, self.depth)
        return window * self.words + np.minimum((word + 1) * self.packing, self.words) - 1

    def create(self, contents: Weights) -> "MatrixVector":
        return MatrixVector(self, self.rom(contents))


class MatrixVector(wiring.Component):
    """Hardware for :class:`MatrixVectorParams`.

    Parameters
    ----------
    rom
        ``params.rom(contents)``.

    Members
    -------
    i, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: MatrixVectorParams, rom: np.ndarray):
        self.params = params
        self.rom = rom
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.mac = mac = Mac(self.params.mac, self.rom)
        wiring.connect(m, mac.o, wiring.flipped(self.o))
        if self.params.buffered:
            self._buffer(m, mac)
        else:
            pass_through(m, self.i, mac)
        return m

    def _buffer(self, m: Module, mac: Mac) -> None:
        """The operand memory, a ring: ``waiting`` of its words have not been read yet, ``used`` not for the last time."""
        p = self.params
        size = 2 * p.depth
        bits = len(Value.cast(mac.x))
        # No word is read while it is written, except in cycles without a step, whose operands do not matter.
        style = {"ram_style": "block" if size > LOGIC_DEPTH else "distributed", "no_rw_check": 1}
        m.submodules.operands = operands = Memory(shape=unsigned(bits), depth=size, init=[], attrs=style)
        put = operands.write_port()
        get = operands.read_port()
        write = Signal()
        first_read = Signal()
        last_read = Signal()

        # Input words are shifted in from above; the last of an operand word goes to the memory with its predecessors.
        complete, next_complete = Signal(init=p.packing == 1), Signal()
        full, next_full = Signal(), Signal()
        ready = Signal(init=1)  # not both
        transfer = Signal()
        word = Value.cast(self.i.payload)
        m.d.comb += [
            next_complete.eq(complete),
            self.i.ready.eq(ready),
            transfer.eq(self.i.valid & self.i.ready),
            write.eq(transfer & complete),
            put.en.eq(write),
        ]
        if p.packing == 1:
            m.d.comb += put.data.eq(word)
        else:
            before = Signal((p.packing - 1) * len(word), reset_less=True)
            shifted = Signal(range(p.packing))
            position = Signal(range(p.words))
            m.d.comb += put.data.eq(Cat(before, word))
            with m.If(transfer):
                m.d.sync += [
                    before.eq(Cat(before, word) >> len(word)),
                    shifted.eq(Mux(complete, 0, shifted + 1)),
                    position.eq(Mux(position == p.words - 1, 0, position + 1)),
                ]
                m.d.comb += next_complete.eq((~complete & (shifted == p.packing - 2)) | (position == p.words - 2))
        with m.If(write):
            m.d.sync += put.addr.eq(Mux(put.addr == size - 1, 0, put.addr + 1))

        # The reader goes through the same half once for each fold.
        fold = Signal(range(p.folds))
        half = Signal()
        some = Signal()
        m.d.comb += [
            mac.step.eq((fold != 0) | some),
            mac.x.eq(data.View(mac.x.shape(), get.data)),
            first_read.eq(mac.ready & mac.step & (fold == 0)),
            last_read.eq(mac.ready & mac.step & (fold == p.folds - 1)),
        ]
        with m.If(mac.ready & mac.step):
            m.d.sync += get.addr.eq(get.addr + 1)
            with m.If(mac.last):
                other = fold == p.folds - 1
                m.d.sync += [
                    fold.eq(Mux(other, 0, fold + 1)),
                    half.eq(half ^ other),
                    get.addr.eq(Mux(half ^ other, p.depth, 0)),
                ]

        waiting = Signal(range(size + 1))
        used = Signal(range(size + 1))
        m.d.comb += next_full.eq(~last_read & (full | (write & (used == size - 1))))
        m.d.sync += [
            waiting.eq(waiting + write - first_read),
            used.eq(used + write - last_read),
            some.eq(write | (waiting > 1) | (some & ~first_read)),
            complete.eq(next_complete),
            full.eq(next_full),
            ready.eq(~(next_complete & next_full)),
        ]
