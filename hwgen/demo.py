"""``hwgen demo``: from a small trained network to verified Verilog, on one screen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from . import flow
from .results import BuildResult, CheckResult, OverlayBuildResult, OverlaySimulateResult, SimulateResult
from .screens import build_screen, check_screen, digits_screen, simulate_screen

__all__ = ["DemoResult", "demo_screen", "run_demo"]

BOARD = "ulx3s-85f"
FRAMES = 100
DIGITS = Path(__file__).parent / "models" / "digits"  #: handwritten digits, trained by train.py there
MODEL = DIGITS / "digits_cnn_int8_qdq_sym_perch.onnx"
SAMPLES = DIGITS / "samples.npz"


@dataclass(frozen=True, kw_only=True, eq=False)
class DemoResult:
    """Parameters
    ----------
    images
        (frames, 8, 8) of 0..1.
    labels, predicted
        (frames,) digits.
    """

    checked: CheckResult
    built: BuildResult | OverlayBuildResult
    simulated: SimulateResult | OverlaySimulateResult
    images: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    @property
    def accuracy(self) -> float:
        return float((self.labels == self.predicted).mean())

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.checked.to_json(),
            "build": self.built.to_json(),
            "simulate": self.simulated.to_json(),
            "predicted": self.predicted.tolist(),
            "accuracy": self.accuracy,
        }


def run_demo(folder: Path, *, progress: Callable[[str, float], None] | None = None) -> DemoResult:
    """Check, build into ``folder`` and simulate the first 100 of the digits that the training has not seen."""
    checked = flow.check(MODEL, BOARD)
    built = flow.build(MODEL, BOARD, folder, progress=progress)
    simulated = flow.simulate(folder, SAMPLES, limit=FRAMES, progress=progress)
    if simulated.outputs is None:
        raise ValueError("outputs must be an array, not None")
    with np.load(SAMPLES) as samples:
        images, labels = samples["inputs"][:FRAMES, 0], samples["labels"][:FRAMES]
    predicted = simulated.outputs.reshape(FRAMES, -1).argmax(1)
    return DemoResult(checked=checked, built=built, simulated=simulated, images=images, labels=labels, predicted=predicted)


def demo_screen(result: DemoResult) -> RenderableType:
    right = int((result.labels == result.predicted).sum())
    return Group(
        Rule("check", align="left"),
        check_screen(result.checked),
        Rule("build", align="left"),
        build_screen(result.built),
        Rule("simulate", align="left"),
        simulate_screen(result.simulated),
        Rule("digits read by the simulated hardware", align="left"),
        digits_screen(result.images, result.labels, result.predicted),
        Text(f"{right} of {len(result.labels)} right: {result.accuracy:.1%}"),
    )
