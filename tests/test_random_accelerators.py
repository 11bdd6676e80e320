"""Random networks, built for random budgets and simulated as emitted Verilog, equal ONNX Runtime in every tensor."""

import numpy as np
import pytest

from hwgen.board import load_board

from .accelerator import build_network, random_board, run
from .random_networks import random_network

COUNT = 50


def check(seed, folder):
    rng = np.random.default_rng(seed)
    model, frames = random_network(rng)
    board = random_board(rng, load_board("ulx3s-85f"))
    built = build_network(
        model, frames, board, folder / "net", str(rng.choice(["throughput", "latency", "area"], p=[0.6, 0.2, 0.2]))
    )
    run(built)
    run(built, stalls=seed)


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_network(seed, tmp_path):
    check(seed, tmp_path)
