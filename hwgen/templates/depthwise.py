"""Depthwise products: each channel's window is multiplied by the channel's own weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith import IntType
from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..streams import Stream, Words, serve
from .mac import Mac, MacParams, Weights, check_sums, pass_through
from .pieces import check_counts

__all__ = ["Depthwise", "DepthwiseParams", "Weights"]

CHUNK = 1 << 24  #: elements that ``compute`` works on at a time, to bound its memory


@dataclass(frozen=True, kw_only=True)
class DepthwiseParams:
    """Weighted sums of windows, channel by channel: ``Σ values[group, 0, t, r · lanes + c] · x[t, r · lanes + c]``.

    Input: for each window and group of ``lanes`` channels ``words`` words of ``rows`` · ``lanes`` elements. Output: for each
    a word of ``lanes`` sums. One input word per cycle.

    Parameters
    ----------
    operand, weight, accumulator
        Types. Weight and accumulator are signed; the accumulator holds every final sum (sums on the way may wrap).
    vectors
        Windows of a frame.
    channels
        Of the tensor, a multiple of ``lanes``.
    lanes
        Channels computed at the same time.
    rows
        Kernel rows computed at the same time.
    words
        Input words of one window and group.
    soft
        Multipliers made of LUTs instead of DSPs.
    programmable
        Whether the weights are in block RAM in any case.
    """

    operand: IntType
    weight: IntType
    accumulator: IntType
    vectors: int
    channels: int
    lanes: int
    rows: int
    words: int
    soft: int = 0
    programmable: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "vectors", "channels", "lanes", "rows", "words")
        if self.channels % self.lanes:
            raise ValueError(f"lanes must divide {self.channels} (channels), not be {self.lanes!r}")
        self.mac.check()

    @property
    def inputs(self) -> tuple[Stream, ...]:
        lanes = self.rows * self.lanes
        return (Stream(element=self.operand, lanes=lanes, words=self.vectors * self.groups * self.words),)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (Stream(element=self.accumulator, lanes=self.lanes, words=self.vectors * self.groups),)

    @property
    def groups(self) -> int:
        """Groups of ``lanes`` channels."""
        return self.channels // self.lanes

    @property
    def multipliers(self) -> int:
        return self.rows * self.lanes

    @property
    def mac(self) -> MacParams:
        return MacParams(
            operand=self.operand,
            weight=self.weight,
            accumulator=self.accumulator,
            lanes=self.rows * self.lanes,
            outputs=self.lanes,
            terms=self.rows,
            steps=self.words,
            depth=self.groups * self.words,
            soft=self.soft,
            programmable=self.programmable,
        )

    def _checked(self, weights: Weights) -> np.ndarray:
        return weights.checked((self.groups, 1, self.words, self.rows * self.lanes), self.weight)

    def compute(self, x: Words, contents: Weights) -> Words:
        """The sums, in int64. Raises ``ValueError`` where one exceeds the accumulator."""
        weights = self._checked(contents).reshape(self.groups, -1, self.lanes).astype(np.int64)
        windows = x.reshape(-1, self.groups, self.words * self.rows, self.lanes)
        sums = np.empty((len(windows), self.groups, self.lanes), np.int64)
        size = max(1, CHUNK // (self.channels * self.words * self.rows))
        for i in range(0, len(windows), size):
            sums[i : i + size] = np.einsum("ngtc,gtc->ngc", windows[i : i + size].astype(np.int64, copy=False), weights)
        return check_sums(sums.reshape(-1, self.lanes), self.accumulator)

    def rom(self, contents: Weights) -> np.ndarray:
        """The weight memory: integers (groups · words, lanes, rows)."""
        return self._checked(contents).reshape(-1, self.rows, self.lanes).transpose(0, 2, 1)

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost:
        """Modelled beyond the arithmetic: the input register."""
        return Cost(cycles=self.inputs[0].words, resources=self.mac.resources(memories) + Resources(ff=self.inputs[0].bits))

    def departures(self, arrivals: np.ndarray) -> np.ndarray:
        return serve(arrivals)[self.words - 1 :: self.words] + self.mac.latency

    def needed(self, k: Any, port: int = 0) -> Any:
        return (k + 1) * self.words

    def accepted(self, k: Any, port: int = 0) -> Any:
        """The words up to output ``k``, and those in the pipeline behind it."""
        return self.mac.started(k)

    def create(self, contents: Weights) -> "Depthwise":
        return Depthwise(self, self.rom(contents))


class Depthwise(wiring.Component):
    """Hardware for :class:`DepthwiseParams`.

    Parameters
    ----------
    rom
        ``params.rom(contents)``.

    Members
    -------
    i, o : streams of ``params.inputs``, ``params.outputs``
    """

    def __init__(self, params: DepthwiseParams, rom: np.ndarray):
        self.params = params
        self.rom = rom
        super().__init__({"i": In(params.inputs[0].signature), "o": Out(params.outputs[0].signature)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.mac = mac = Mac(self.params.mac, self.rom)
        wiring.connect(m, mac.o, wiring.flipped(self.o))
        pass_through(m, self.i, mac)
        return m
