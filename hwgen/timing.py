"""When words move through a design: its latency and initiation interval, predicted."""

from dataclasses import dataclass

import numpy as np

from .mapping.design import Design, Port

__all__ = ["Timing", "predict"]

IDLE = 1 << 20  #: cycles before the first word, in which line buffers write the padding above the first row


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
    """Interval: that of the slowest stage. Latency: the templates' ``departures`` followed through the design for one frame."""
    slowest = max(design.stages, key=lambda s: s.params.cost().cycles)
    times: dict[Port, np.ndarray] = {Port(""): IDLE + np.arange(design.input.words)}
    into = {link.sink: link.source for link in design.links}
    for stage in design.stages:
        left = stage.params.departures(*(times[into[Port(stage.name, k)]] for k in range(len(stage.params.inputs))))
        times |= {Port(stage.name, k): t for k, t in enumerate(left if isinstance(left, tuple) else (left,))}
    last = times[next(link.source for link in design.links if link.sink.stage == "")][-1]
    return Timing(interval=slowest.params.cost().cycles, latency=int(last) - IDLE, bottleneck=slowest.name)
