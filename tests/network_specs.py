"""Descriptions of small random networks: trees of small numbers that print as code and shrink in hypothesis."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

Pair = tuple[int, int]
Quad = tuple[int, int, int, int]

UNARY = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid")
SCALES = ("real", "power of two", "of the input", "symmetric")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """``asymmetric``: with zero points. ``power_of_two``: scales."""

    bias: bool = False
    per_channel: bool = False
    asymmetric: bool = False
    power_of_two: bool = False


@dataclass(frozen=True, kw_only=True)
class Conv:
    """``groups``: 0 means depthwise. ``activation``: "", "Relu" or "Clip", fused."""

    channels: int
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    pads: Quad = (0, 0, 0, 0)
    groups: int = 1
    activation: str = ""
    weights: Weights = Weights()
    scale: str = "real"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """``operator``: MaxPool, AveragePool."""

    operator: str
    kernel: Pair
    strides: Pair = (1, 1)
    pads: Quad = (0, 0, 0, 0)
    include_pad: bool = False
    scale: str = "of the input"


@dataclass(frozen=True, kw_only=True)
class Unary:
    """An element-wise operator of its own, between quantisers."""

    operator: str
    scale: str = "real"


@dataclass(frozen=True, kw_only=True)
class Pad:
    """``value`` in steps of the quantised type."""

    pads: Quad
    value: int = 0


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Two chains that rejoin by ``join``, Add or Concat; an empty chain passes its input on.

    ``halve``: both start with stride 2.
    """

    join: str
    left: "tuple[Layer, ...]"
    right: "tuple[Layer, ...]"
    halve: bool = False
    activation: str = ""
    scale: str = "real"


@dataclass(frozen=True, kw_only=True)
class Dense:
    """``matmul``: MatMul and Add instead of Gemm."""

    channels: int
    matmul: bool = False
    activation: str = ""
    weights: Weights = Weights()
    scale: str = "real"


Layer = Conv | Pool | Unary | Pad | Branch


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network.

    Parameters
    ----------
    size
        (H, W, C) of the input.
    layers
        On the image.
    pool
        "", "GlobalAveragePool" or "AveragePool" (over the whole image), after ``layers``.
    dense
        Fully connected layers at the end, behind a Flatten.
    ending
        "", "Softmax" or "ArgMax"; needs ``pool`` or ``dense``.
    unsigned
        uint8 instead of int8, weights too if ``unsigned_weights``.
    real
        The model's input and output are float32, quantised in the model.
    seed
        Of weights, scales and frames.
    """

    size: tuple[int, int, int]
    layers: tuple[Layer, ...] = ()
    pool: str = ""
    dense: tuple[Dense, ...] = ()
    ending: str = ""
    unsigned: bool = False
    unsigned_weights: bool = False
    real: bool = False
    seed: int = 0


def random_spec(rng: np.random.Generator) -> NetworkSpec:
    """A random description."""
    return _spec(lambda lo, hi: int(rng.integers(lo, hi + 1)))


@st.composite
def specs(draw: st.DrawFn) -> NetworkSpec:
    """Descriptions for hypothesis; shrink to one 1×1 convolution or less."""
    return _spec(lambda lo, hi: draw(st.integers(lo, hi)))


def _spec(number: Callable[[int, int], int]) -> NetworkSpec:
    """A description from ``number(lo, hi)``, an integer source; small numbers make simple networks."""

    def flag(one_in: int = 2) -> bool:
        return number(0, one_in - 1) == one_in - 1

    def one_of(*options: str) -> str:
        return options[number(0, len(options) - 1)]

    def pair(hi: int) -> Pair:
        return number(1, hi), number(1, hi)

    def quad(hi: int) -> Quad:
        return number(0, hi), number(0, hi), number(0, hi), number(0, hi)

    def weights() -> Weights:
        return Weights(bias=flag(), per_channel=flag(), asymmetric=flag(4), power_of_two=flag(4))

    def layer(depth: int) -> Layer:
        match number(0, 7 if depth < 2 else 5):
            case 0 | 1 | 2:
                return Conv(
                    channels=number(1, 12),
                    kernel=pair(number(1, 5)),
                    strides=pair(3 if flag(4) else 1),
                    dilations=pair(2 if flag(4) else 1),
                    pads=quad(number(0, 3)),
                    groups=(1, 0, 2)[number(0, 2)],
                    activation=one_of("", "Relu", "Clip"),
                    weights=weights(),
                    scale=one_of(*SCALES),
                )
            case 3:
                operator = one_of("MaxPool", "AveragePool")
                scale = one_of("of the input", *SCALES)
                return Pool(operator=operator, kernel=pair(3), strides=pair(2), pads=quad(2), include_pad=flag(), scale=scale)
            case 4:
                return Unary(operator=one_of(*UNARY), scale=one_of(*SCALES))
            case 5:
                return Pad(pads=quad(2), value=number(0, 20))
            case _:
                return Branch(
                    join=one_of("Add", "Concat"),
                    left=tuple(layer(depth + 1) for _ in range(number(0, 2))),
                    right=tuple(layer(depth + 1) for _ in range(number(0, 2))),
                    halve=flag(3),
                    activation=one_of("", "Relu"),
                    scale=one_of(*SCALES),
                )

    def dense() -> Dense:
        activation, scale = one_of("", "Relu", "Clip"), one_of(*SCALES)
        return Dense(channels=number(1, 12), matmul=flag(), activation=activation, weights=weights(), scale=scale)

    size = (number(1, 12), number(1, 12), number(1, 12))
    layers = tuple(layer(0) for _ in range(number(0, 6)))
    pool = one_of("", "GlobalAveragePool", "AveragePool")
    last = tuple(dense() for _ in range(number(0 if layers or pool else 1, 2)))
    return NetworkSpec(
        size=size,
        layers=layers,
        pool=pool,
        dense=last,
        ending=one_of("", "Softmax", "ArgMax") if pool or last else "",
        unsigned=(unsigned := flag(3)),
        unsigned_weights=unsigned and flag(),
        real=flag(),
        seed=number(0, 2**16),
    )
