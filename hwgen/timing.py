"""When words move through a design: its latency and initiation interval, predicted."""

from dataclasses import dataclass

import numpy as np

from .mapping.design import Design, Port, Stage
from .streams import serve

__all__ = ["Timing", "predict"]

IDLE = 1 << 20  #: cycles before the first word, in which line buffers write the padding above the first row
PASSES = 40  #: at most; one for each stage that a full buffer holds up, and those before it


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Predicted cycles, with input always offered and output always taken.

    Parameters
    ----------
    interval
        Between the last output words of successive frames once warm.
    latency
        From the first input word in to the last output word of the first frame out.
    bottleneck
        Name of a stage whose own interval is ``interval``.
    """

    interval: int
    latency: int
    bottleneck: str


def predict(design: Design) -> Timing:
    """Interval: that of the slowest stage. Latency: the way of one frame's words through the design.

    Each stage's ``departures`` say when its words could leave; they do leave when the next stage can take them, which is
    when enough of its own words have left (``accepted``). Repeated until nothing changes.
    """
    slowest = max(design.stages, key=lambda s: s.params.cost().cycles)
    into = {link.sink: link.source for link in design.links}
    out_of = {link.source: link.sink for link in design.links}
    last = next(link.source for link in design.links if link.sink.stage == "")
    pace = {s.name: _pace(s) for s in design.stages}
    opening = {Port(s.name, k): _opening(s, k) for s in design.stages for k in range(len(s.params.inputs))}
    offered = IDLE + np.arange(design.input.words)
    left: dict[Port, np.ndarray] = {}
    for _ in range(PASSES):
        before = left
        taken = {port: np.append(0, before[Port(port.stage)])[first] for port, first in opening.items()} if before else {}
        left = {Port(""): _held(offered, 1, taken.get(out_of[Port("")]))}
        for stage in design.stages:
            ready = stage.params.departures(*(left[into[Port(stage.name, k)]] for k in range(len(stage.params.inputs))))
            for k, words in enumerate(ready if isinstance(ready, tuple) else (ready,)):
                port = Port(stage.name, k)
                left[port] = _held(words, pace[stage.name], taken.get(out_of[port]))
        if before and all((left[port] == times).all() for port, times in before.items()):
            break
    first_in = left[Port("")][0]
    leaves = serve(np.maximum(left[last], first_in), 1)  # the output waits for the frame to begin, though it be all padding
    return Timing(interval=slowest.params.cost().cycles, latency=int(leaves[-1] - first_in), bottleneck=slowest.name)


def _pace(stage: Stage) -> np.ndarray:
    """Cycles between a stage's output words when all input is there."""
    ready = stage.params.departures(*(np.zeros(s.words, np.int64) for s in stage.params.inputs))
    words = ready[0] if isinstance(ready, tuple) else ready
    return np.append(np.diff(words), 1)


def _opening(stage: Stage, port: int) -> np.ndarray:
    """For each word of an input port how many output words must have left before it can be taken."""
    outputs = stage.params.outputs[0].words
    accepted = np.asarray(stage.params.accepted(np.arange(outputs), port))
    return np.searchsorted(accepted, np.arange(1, stage.params.inputs[port].words + 1))


def _held(ready: np.ndarray, pace: np.ndarray | int, taken: np.ndarray | None) -> np.ndarray:
    """When words leave that could at ``ready``, not closer than ``pace``, and not before the next stage takes them."""
    return ready if taken is None else serve(np.maximum(ready, taken), pace)
