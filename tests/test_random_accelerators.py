"""Random networks, built for random budgets and simulated as emitted Verilog, equal ONNX Runtime in every tensor.

More of them: ``python -m benchmarks.random_networks``.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import numpy as np
import pytest

from hwgen.board import load_board

from .accelerator import build_network, random_board, random_objective, run
from .random_networks import NetworkSpec, build, frames, random_spec, specs

#: Seeds of networks that once failed, and why.
REGRESSIONS = {
    1: "padding of the next frame came out of a Pad early",
    6: "softmax and concatenation held up steady producers: 589 cycles instead of 511",
    9: "the prediction counted padding that was written before the first word",
    1018: "padding of the next frame came out of the accelerator early",
    12: "a concatenation held up its producers: 5,856 cycles instead of 3,840",
}


def check(spec: NetworkSpec, rng: np.random.Generator) -> None:
    """Build ``spec`` for a random budget and objective; simulate it with and without stalls."""
    board = random_board(rng, load_board("ulx3s-85f"))
    with TemporaryDirectory() as folder:
        built = build_network(build(spec), frames(spec), board, Path(folder) / "net", random_objective(rng))
        run(built)
        run(built, stalls=1)


FAST = {0, *REGRESSIONS}
SLOW = {*range(40)} - FAST


@pytest.mark.parametrize("seed", [*sorted(FAST), *(pytest.param(s, marks=pytest.mark.slow) for s in sorted(SLOW))])
def test_random_network(seed):
    rng = np.random.default_rng(seed)
    check(random_spec(rng), rng)


@pytest.mark.parametrize("shard", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 5))])
def test_shrinking_network(shard):
    """As above, drawn by hypothesis, which reduces a network that fails to a small one."""

    @hypothesis.seed(shard)
    @hypothesis.settings(max_examples=2, deadline=None, database=None)
    @hypothesis.given(specs())
    def shrinking(spec: NetworkSpec) -> None:
        check(spec, np.random.default_rng(shard))

    shrinking()
