"""A chosen accelerator: stages, the links between them, and what their memories hold."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import networkx as nx
from amaranth.lib import wiring

from ..cost import BLOCKS_18K, Cost, Memories, Resources
from ..graph import Graph
from ..streams import Stream, Words
from ..templates.settings import loader_resources

__all__ = ["Design", "Link", "Port", "Stage", "Template"]


class Template(Protocol):
    """Parameters of a hardware block; docs/architecture.md states the contract."""

    @property
    def inputs(self) -> tuple[Stream, ...]: ...

    @property
    def outputs(self) -> tuple[Stream, ...]: ...

    @property
    def compute(self) -> Callable[..., Any]: ...

    def cost(self, memories: Memories = BLOCKS_18K) -> Cost: ...

    @property
    def departures(self) -> Callable[..., Any]: ...

    def needed(self, k: Any, port: int = 0) -> Any: ...

    def accepted(self, k: Any, port: int = 0) -> Any: ...

    @property
    def create(self) -> Callable[..., wiring.Component]: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One instance of a template.

    Parameters
    ----------
    name
        Unique in the design, a Verilog identifier: ``conv0_window``, ``conv0_mac``, ``conv0_requant``, ``add0_fifo_a``.
    node
        The graph node it serves; empty for what connects nodes (forks, FIFOs, width converters).
    contents
        What its memories hold; None where the template has none.
    """

    name: str
    node: str
    params: Template
    contents: Any = field(default=None, repr=False)

    def compute(self, *words: Words) -> tuple[Words, ...]:
        """``params.compute`` with the contents; always a tuple, one array for each output."""
        with_contents = {} if self.contents is None else {"contents": self.contents}
        result = self.params.compute(*words, **with_contents)
        return result if isinstance(result, tuple) else (result,)

    def create(self) -> wiring.Component:
        return self.params.create() if self.contents is None else self.params.create(self.contents)

    @property
    def setting_bits(self) -> int:
        """Of its :class:`~hwgen.templates.settings.Setting` registers."""
        settings = getattr(self.params, "settings", None)
        return sum(s.element.bits for s in settings(self.contents)) if settings else 0

    @property
    def i_ports(self) -> tuple[str, ...]:
        """Names of the component's input streams: ``i``, or ``i0``, ``i1``, ..."""
        n = len(self.params.inputs)
        return ("i",) if n == 1 else tuple(f"i{k}" for k in range(n))

    @property
    def o_ports(self) -> tuple[str, ...]:
        n = len(self.params.outputs)
        return ("o",) if n == 1 else tuple(f"o{k}" for k in range(n))


@dataclass(frozen=True, order=True)
class Port:
    """A port of a stage; the design's own input or output where ``stage`` is empty."""

    stage: str
    index: int = 0


@dataclass(frozen=True, order=True)
class Link:
    """A stream from an output port to an input port. Each port has exactly one."""

    source: Port
    sink: Port


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A whole accelerator.

    Parameters
    ----------
    stages
        In topological order.
    carriers
        For each tensor of the graph the output port whose stream is that tensor (``Port("")``: the design's input).
    """

    name: str
    graph: Graph
    stages: tuple[Stage, ...]
    links: tuple[Link, ...]
    carriers: dict[str, Port]

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(s for s in self.stages if s.name == name)

    @property
    def input(self) -> Stream:
        """The stream that enters."""
        sink = next(link.sink for link in self.links if link.source.stage == "")
        return self.stage(sink.stage).params.inputs[sink.index]

    @property
    def output(self) -> Stream:
        """The stream that leaves."""
        return self.stream(next(link.source for link in self.links if link.sink.stage == ""))

    def stream(self, source: Port) -> Stream:
        """The stream that leaves ``source``."""
        return self.stage(source.stage).params.outputs[source.index] if source.stage else self.input

    def resources(self, memories: Memories) -> Resources:
        """Modelled: of all stages, and of what fills their settings."""
        loader = loader_resources(sum(s.setting_bits for s in self.stages), memories)
        return sum((s.params.cost(memories).resources for s in self.stages), loader)

    def digraph(self) -> nx.MultiDiGraph:
        """Stages as vertices (and "" for the outside), links as edges."""
        g: nx.MultiDiGraph = nx.MultiDiGraph()
        g.add_nodes_from(s.name for s in self.stages)
        g.add_edges_from((link.source.stage, link.sink.stage, {"link": link}) for link in self.links)
        return g
