"""Pictures of a compiled network: when the units work, what lies in the scratchpad, how near the limits the layers come.

By the predicted times. SVG, the same bytes for the same program.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Graph
from .clock import spans
from .compiled import Compiled, Layer, data_bytes, layers
from .isa import Unit
from .timing import MemoryTiming
from .tokens import accesses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "Point", "Run", "Stay", "draw", "points", "runs", "stays"]

PICTURES = ("timeline.svg", "scratchpad.svg", "roofline.svg")
UNITS = {Unit.LOAD: "load", Unit.MULTIPLY: "array", Unit.VECTOR: "vector", Unit.STORE: "store"}
COLOURS = ("#3f6fc4", "#dd7530", "#4a9e48", "#c94f4f", "#8a5fad", "#b38d1c", "#cb62a5", "#3598ad", "#855a36")
INPUT = "#8c8c8c"
STYLE = {
    "svg.hashsalt": "hwgen", "font.family": "DejaVu Sans", "font.size": 8, "axes.spines.top": False,
    "axes.spines.right": False, "text.parse_math": False,
}  # fmt: skip
WIDTH, LEFT, RIGHT, BELOW = 10.0, 0.85, 0.35, 0.5  #: inches: of pictures, beside and below their axes
ANGLE = np.pi / 4.5  #: of names
FINE = 800  #: pauses shorter than this part of the time are not drawn
LETTER = 0.075  #: inches, the width of one, about
LABELS = 32  #: that there is room for
LONGEST = 24  #: letters of a name
ROW = 0.19  #: inches from name to name above an axis


@dataclass(frozen=True, kw_only=True)
class Run:
    """A unit at work for a layer, ``busy`` cycles of those from ``start`` to ``end``; pauses are too short to draw."""

    unit: Unit
    layer: int
    start: int
    end: int
    busy: int


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A tensor in the scratchpad, at bytes from ``low`` until before ``high``: from its first write to the last access."""

    tensor: str
    low: int
    high: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """A layer in the roofline.

    Parameters
    ----------
    intensity
        MACs per byte of data that is loaded and stored for it.
    reached
        MACs per cycle in which a unit works for it.
    """

    layer: int
    intensity: float
    reached: float


def runs(compiled: Compiled, found: Sequence[Layer], times: Sequence[tuple[int, int]], pause: float) -> list[Run]:
    """Instructions of a unit and layer with pauses of at most so many cycles between them are one."""
    made: list[Run] = []
    stops = [layer.stop for layer in found]
    for unit in Unit:
        before = None
        for number, (start, end) in enumerate(times):
            if compiled.program[number].unit != unit:
                continue
            layer = min(bisect_right(stops, number), len(found) - 1)
            if before and before.layer == layer and start - before.end <= pause:
                before = made[-1] = replace(before, end=end, busy=before.busy + end - start)
            else:
                before = Run(unit=unit, layer=layer, start=start, end=end, busy=end - start)
                made.append(before)
    return made


def stays(compiled: Compiled, times: Sequence[tuple[int, int]]) -> list[Stay]:
    """In the order in which they begin in the program. What writes already where another is still read counts for that one."""
    touched = [[a for a in accesses(i, compiled.engine) if a.memory == "scratchpad"] for i in compiled.program]
    found: list[Stay] = []
    for stay in sorted(compiled.stays, key=lambda s: (s.first, s.place.address)):
        low, high = stay.place.address, stay.place.address + stay.place.size
        own = [(n, a) for n in range(stay.first, stay.stop) for a in touched[n] if a.low < high and low < a.high]
        before = [s.end for s in found if s.low < high and low < s.high]
        start = max([min(times[n][0] for n, a in own if a.write), *before])
        end = max([start, *(times[n][1] for n, _ in own)])
        found.append(Stay(tensor=stay.tensor, low=low, high=high, start=start, end=end))
    return found


def points(compiled: Compiled, found: Sequence[Layer], times: Sequence[tuple[int, int]]) -> list[Point]:
    """Layers with MACs."""
    made = []
    for number, layer in enumerate(found):
        moved = data_bytes(compiled, layer.first, layer.stop)
        if layer.macs and moved:
            cycles = _covered(times[layer.first : layer.stop])
            made.append(Point(layer=number, intensity=layer.macs / moved, reached=layer.macs / cycles))
    return made


def _covered(times: Iterable[tuple[int, int]]) -> int:
    """Cycles that are in one of the spans or more."""
    ordered = sorted(times)
    reached = accumulate((end for _, end in ordered), max, initial=0)
    return sum(max(0, end - max(start, before)) for (start, end), before in zip(ordered, reached, strict=False))


def draw(graph: Graph, compiled: Compiled, memory: MemoryTiming, folder: Path) -> None:
    """Write ``PICTURES`` into a folder."""
    import matplotlib.style

    times = spans(compiled.program, compiled.engine, memory)
    found = layers(graph, compiled, [end for _, end in times])
    with matplotlib.style.context(["default", STYLE]):
        both = _timeline(compiled, found, times), _scratchpad(graph, compiled, found, times)
        for name, figure in zip(PICTURES, (*both, _roofline(compiled, found, times)), strict=True):
            figure.savefig(folder / name, metadata={"Date": None})


def _figure(height: float, above: float, beside: float, title: str) -> tuple["Figure", "Axes"]:
    """Axes of so many inches' height, and room above and to the right."""
    from matplotlib.figure import Figure

    whole = BELOW + height + above
    figure = Figure(figsize=(WIDTH, whole))
    figure.text(0.1 / WIDTH, 1 - 0.1 / whole, title, va="top", fontsize=9)
    return figure, figure.add_axes((LEFT / WIDTH, BELOW / whole, (WIDTH - LEFT - beside) / WIDTH, height / whole))


def _of_cycles(height: float, found: Sequence[Layer], total: int, title: str) -> tuple["Figure", "Axes"]:
    """Axes with cycles from left to right; above them a bar in the layers' colours, and their names."""
    named = sorted(sorted(range(len(found)), key=lambda n: found[n].start - found[n].end)[:LABELS])
    labels = [_label(found[n]) for n in named]
    figure, axes = _figure(height, 0.75 + LETTER * max(map(len, labels)) * np.sin(ANGLE), RIGHT, title)
    axes.set(xlim=(0, total), xlabel="cycles")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    over = axes.get_xaxis_transform()
    low, high, text = (1 + inches / height for inches in (0.05, 0.15, 0.35))
    for number, layer in enumerate(found):
        at = [(layer.start, layer.end - layer.start)]
        axes.broken_barh(at, (low, high - low), transform=over, clip_on=False, color=_colour(number))
        axes.axvline(layer.end, color="0.6", linewidth=0.4, linestyle=":", zorder=0)
    inch = total / (WIDTH - LEFT - RIGHT)
    middles = [(found[n].start + found[n].end) / 2 for n in named]
    beyond = max(LETTER * len(t) * np.cos(ANGLE) - ROW * k for k, t in enumerate(reversed(labels))) - RIGHT
    places = _apart(middles, ROW * inch, 0, total - max(0, beyond) * inch)
    for number, label, middle, x in zip(named, labels, middles, places, strict=True):
        style: dict[str, Any] = {"transform": over, "color": _colour(number), "clip_on": False}
        axes.plot([middle, x], [high, text - 0.02 / height], linewidth=0.5, **style)
        axes.text(x, text, label, rotation=np.degrees(ANGLE), rotation_mode="anchor", **style)
    return figure, axes


def _timeline(compiled: Compiled, found: Sequence[Layer], times: Sequence[tuple[int, int]]) -> "Figure":
    """A lane for each unit."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    total = times[-1][1]
    title = "When each unit works, and its share of the cycles; bars are lower where pauses are too short to draw"
    figure, axes = _of_cycles(2.4, found, total, title)
    lanes: dict[tuple[Unit, int], list[Run]] = {}
    for run in runs(compiled, found, times, total / FINE):
        lanes.setdefault((run.unit, run.layer), []).append(run)
    for (unit, layer), together in lanes.items():
        corners = []
        for run in together:
            top = unit + 0.4 - 0.8 * run.busy / max(1, run.end - run.start)
            corners += [(run.start, unit + 0.4), (run.start, top), (run.end, top), (run.end, unit + 0.4), (0, 0)]
        codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(together)
        axes.add_patch(PathPatch(Outline(corners, codes), color=_colour(layer), linewidth=0.5))
    busy = [sum(end - start for i, (start, end) in zip(compiled.program, times, strict=True) if i.unit == u) for u in UNITS]
    axes.set_yticks(range(len(UNITS)), [f"{name}\n{b / total:.0%}" for name, b in zip(UNITS.values(), busy, strict=True)])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(UNITS) - 0.5, -0.5)
    return figure


def _scratchpad(graph: Graph, compiled: Compiled, found: Sequence[Layer], times: Sequence[tuple[int, int]]) -> "Figure":
    """A rectangle for each stay."""
    total, height = times[-1][1], 3.6
    stop = dict(compiled.ends)
    made = {layer.stop: number for number, layer in enumerate(found)}
    lying = stays(compiled, times)
    peak, size = max(stay.high for stay in lying), compiled.engine.scratchpad
    top = min(size, 1.25 * peak) / 1024
    title = f"What lies in the scratchpad: up to byte {peak:,} of {size:,}, borders included"
    figure, axes = _of_cycles(height, found, total, title)
    for stay in lying:
        colour = INPUT if stay.tensor == graph.input else _colour(made[stop[stay.tensor]])
        low, high = stay.low / 1024, stay.high / 1024
        at = [(stay.start, stay.end - stay.start)]
        axes.broken_barh(at, (low, high - low), facecolor=colour, edgecolor="white", linewidth=0.3)
        room = (stay.end - stay.start) / total * (WIDTH - LEFT - RIGHT) / LETTER, (high - low) / top * height / LETTER
        shape = "x".join(map(str, graph.tensors[stay.tensor].shape))
        _inside(
            axes, (stay.start + stay.end) / 2, (low + high) / 2, room, (f"{_short(stay.tensor)}\n{shape}", _short(stay.tensor))
        )
    axes.set(ylim=(0, top), ylabel="address, KiB")
    return figure


def _inside(axes: "Axes", x: float, y: float, room: tuple[float, float], texts: Iterable[str]) -> None:
    """The first text that fits into a rectangle of so many letters' width, across or upright."""
    for text, (along, beside) in product(texts, (room, room[::-1])):
        lines = text.split("\n")
        if max(map(len, lines)) + 1 <= along and 2 * len(lines) <= beside:
            axes.text(x, y, text, ha="center", va="center", rotation=90 * ((along, beside) != room), color="white")
            return


def _roofline(compiled: Compiled, found: Sequence[Layer], times: Sequence[tuple[int, int]]) -> "Figure":
    """Points, and what the engine's multipliers and bus allow."""
    from matplotlib.ticker import LogLocator, NullFormatter

    engine, height = compiled.engine, 4.6
    most = engine.rows * engine.columns
    title = "How near the limits each layer comes while a unit works for it: MACs per cycle (% of the limit there)"
    figure, axes = _figure(height, 0.55, 2.6, title)
    shown = points(compiled, found, times)
    whole = sum(layer.macs for layer in found)
    marks = [(p.intensity, p.reached, _label(found[p.layer]), _colour(p.layer), "o", 28) for p in shown]
    if shown:
        marks.append((whole / data_bytes(compiled), whole / times[-1][1], "whole network", "black", "*", 90))
    ridge = most / engine.bus
    left, right = min([ridge, *(m[0] for m in marks)]) / 3, max([ridge, *(m[0] for m in marks)]) * 3
    bottom, top = min([most, *(m[1] for m in marks), left * engine.bus]) / 1.5, most * 2
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
    axes.plot([left, ridge, right], [left * engine.bus, most, most], color="0.3", linewidth=1.2)
    axes.text(ridge * 0.9, most, f"{engine.rows} x {engine.columns} multipliers", ha="right", va="center", color="0.3")
    slope = np.sqrt(left * ridge)
    axes.text(
        slope, slope * engine.bus * 1.1, f"{engine.bus} bytes a cycle", color="0.3", ha="center", va="bottom",
        rotation=np.degrees(np.arctan(engine.bus)), transform_rotates_text=True, rotation_mode="anchor",
    )  # fmt: skip
    chosen = sorted(sorted(marks, key=lambda m: -m[1])[:LABELS], key=lambda m: m[1])
    share = [np.log(m[1] / bottom) / np.log(top / bottom) for m in chosen]
    for x, y, _, colour, marker, size in marks:
        axes.scatter([x], [y], s=size, c=colour, marker=marker, zorder=3, edgecolors="white", linewidths=0.4)
    for (x, y, name, colour, _, _), place in zip(chosen, _apart(share, 0.15 / height, 0, 1), strict=True):
        text = f"{name}  {y:.3g} ({y / min(most, engine.bus * x):.0%})"
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.6, "relpos": (0, 0.5)}
        axes.annotate(text, (x, y), (1.03, place), textcoords="axes fraction", va="center", color=colour, arrowprops=line)
    axes.set(xlabel="MACs per byte of external memory (without those of instructions)", ylabel="MACs per cycle")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    return figure


def _label(layer: Layer) -> str:
    """The names of its operators, or the first one's and how many more there are."""
    together = " + ".join(map(_short, layer.names))
    return together if len(together) <= LONGEST else f"{_short(layer.names[0])} + {len(layer.names) - 1}"


def _short(name: str) -> str:
    """The end of a long name, in letters that the font has."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
    return plain if len(plain) <= LONGEST else "…" + plain[1 - LONGEST :]


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Ascending places near the wanted ones, ``gap`` or more between them, as far as there is room."""
    steps = gap * np.arange(len(wanted))
    free = np.asarray(wanted) - steps
    spread = (np.maximum.accumulate(free) + np.minimum.accumulate(free[::-1])[::-1]) / 2
    return np.clip(spread, low, max(low, high - gap * (len(wanted) - 1))) + steps


def _colour(layer: int) -> str:
    return COLOURS[layer % len(COLOURS)]
