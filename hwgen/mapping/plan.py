"""Connect the chosen templates: width converters, forks, and FIFOs that make deadlock impossible."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import lcm

import networkx as nx
import numpy as np

from ..graph import Graph
from ..templates.concat import ConcatParams
from ..templates.fifo import fifo_of
from ..templates.fork import ForkParams
from ..templates.softmax import SoftmaxParams
from ..templates.width import WidthParams
from ..templates.window import WindowParams
from .design import Design, Link, Port, Stage, Template
from .operators import Block

__all__ = ["plan", "size_fifos"]

SHALLOWEST = 3  #: words of the smallest FIFO


def plan(graph: Graph, chains: tuple[tuple[Block, ...], ...]) -> Design:
    """The design that runs ``graph`` with the given chain of templates for each node."""
    builder = _Builder(graph, max(b.params.cost().cycles for blocks in chains for b in blocks))
    for node, blocks in zip(graph.nodes, chains, strict=True):
        builder.chain(node.name, blocks)
    return size_fifos(builder.finish())


class _Builder:
    """Stages and links while they are put together."""

    def __init__(self, graph: Graph, interval: int):
        self.graph = graph
        self.interval = interval
        self.chains: dict[str, list[Stage]] = {}
        self.extra: list[Stage] = []
        self.links: list[Link] = []

    def chain(self, node: str, blocks: tuple[Block, ...]) -> None:
        stages = [
            Stage(name=f"{node}_{b.suffix}", node=node, params=b.params, contents=b.contents() if b.contents else None)
            for b in blocks
        ]
        self.chains[node] = stages
        self.links += [Link(Port(a.name), Port(b.name)) for a, b in pairwise(stages)]

    def finish(self) -> Design:
        graph = self.graph
        carriers = {graph.input: Port("")}
        carriers |= {node.output: Port(self.chains[node.name][-1].name) for node in graph.nodes}
        for tensor in graph.tensors:
            sinks = [
                Port(self.chains[node.name][0].name, k)
                for node in graph.nodes
                for k, name in enumerate(node.inputs)
                if name == tensor
            ]
            if tensor == graph.output:
                sinks.append(Port(""))
            self._spread(tensor, carriers[tensor], sinks)
        design = Design(
            name=graph.name,
            graph=graph,
            stages=(*self.extra, *(s for chain in self.chains.values() for s in chain)),
            links=tuple(self.links),
            carriers=carriers,
        )
        return _ordered(design)

    def _params(self, port: Port) -> Template | None:
        """Of the stage that has ``port``; None for the design's own input or output."""
        return next((s.params for chain in self.chains.values() for s in chain if s.name == port.stage), None)

    def _lanes(self, port: Port) -> int | None:
        """Lanes of an input port; None: the design's own output takes what comes."""
        params = self._params(port)
        return None if params is None else params.inputs[port.index].lanes

    def _spread(self, tensor: str, source: Port, sinks: list[Port]) -> None:
        """Bring the words of ``tensor`` from ``source`` to all ``sinks``, each in its own width."""
        made_by = self._params(source)
        first = next((s for s in sinks if s.stage), sinks[0])
        taken_by = self._params(first)
        if made_by is not None:
            stream = made_by.outputs[source.index]
        elif taken_by is not None:
            stream = taken_by.inputs[first.index]
        else:
            raise ValueError("the design must have at least one node")
        if len(sinks) > 1:
            fork = Stage(name=f"{tensor}_fork", node="", params=ForkParams(stream=stream, branches=len(sinks)))
            self.extra.append(fork)
            self.links.append(Link(source, Port(fork.name)))
        for k, sink in enumerate(sinks):
            here = Port(fork.name, k) if len(sinks) > 1 else source
            label = f"{tensor}_{k}" if len(sinks) > 1 else tensor
            now, lanes = stream, self._lanes(sink) or stream.lanes
            for width in [] if now.lanes == lanes else [lcm(now.lanes, lanes), lanes]:
                if width == now.lanes:
                    continue
                up = "pack" if width > now.lanes else "unpack"
                converter = Stage(name=f"{label}_{up}", node="", params=WidthParams(stream=now, lanes=width))
                self.extra.append(converter)
                self.links.append(Link(here, Port(converter.name)))
                here, now = Port(converter.name), converter.params.outputs[0]
            self.links.append(Link(self._cushion(here, sink), sink))

    def _cushion(self, source: Port, sink: Port) -> Port:
        """A FIFO in front of what takes its words in bursts, so that who makes them at a steady pace need not wait.

        A line buffer takes nothing while it writes padding, a concatenation while it takes the other inputs' channels, a
        softmax while it divides.
        None at the design's input: who feeds it can wait.
        """
        params = self._params(sink)
        match params:
            case WindowParams() if params.pause and source.stage:
                burst = -(-params.pause * params.inputs[0].words // self.interval)
            case ConcatParams():
                burst = params.chunks[sink.index]
            case SoftmaxParams():
                burst = params.channels
            case _:
                return source
        stream, depth = params.inputs[sink.index], burst + SHALLOWEST
        fifo = Stage(
            name=f"{sink.stage}_cushion{sink.index}" if len(params.inputs) > 1 else f"{sink.stage}_cushion",
            node="",
            params=fifo_of(stream, depth),
        )
        self.extra.append(fifo)
        self.links.append(Link(source, Port(fifo.name)))
        return Port(fifo.name)


def _ordered(design: Design) -> Design:
    """The same design, its stages in topological order (ties: by name)."""
    graph = design.digraph()
    if "" in graph:
        graph.remove_node("")
    by_name = {s.name: s for s in design.stages}
    order = nx.lexicographical_topological_sort(nx.DiGraph(graph))
    return replace(design, stages=tuple(by_name[name] for name in order))


def size_fifos(design: Design) -> Design:
    """Put a FIFO on each branch of each fork that needs one.

    Let branches p and q of a fork rejoin at a node. While the join's k-th output word has not left, q can have taken up to
    ``accepted_q(k)`` words, and p offers its part of word k once it has taken ``needed_p(k)``. A FIFO of
    ``max over k of accepted_q(k) - needed_p(k)`` words on p therefore never lets p hold q back. Inner forks come first, so
    that their FIFOs count in what the outer branches accept. A few words more cover the FIFO's own two cycles.
    """
    forks = [s for s in design.stages if isinstance(s.params, ForkParams)]
    for fork in reversed(forks):
        for branch, depth in _depths(design, fork).items():
            if depth > 0:
                design = _ordered(_insert_fifo(design, Port(fork.name, branch), depth + SHALLOWEST))
    return design


def _insert_fifo(design: Design, source: Port, depth: int) -> Design:
    sink = next(link.sink for link in design.links if link.source == source)
    fifo = Stage(name=f"{source.stage}_fifo{source.index}", node="", params=fifo_of(design.stream(source), depth))
    links = [link for link in design.links if link.source != source]
    links += [Link(source, Port(fifo.name)), Link(Port(fifo.name), sink)]
    return replace(design, stages=(*design.stages, fifo), links=tuple(links))


def _depths(design: Design, fork: Stage) -> dict[int, int]:
    """Words that each branch of ``fork`` must be able to hold."""
    by_name = {s.name: s for s in design.stages}
    into = {link.sink: link.source for link in design.links}
    graph = nx.DiGraph(design.digraph())
    graph.remove_nodes_from([n for n in [""] if n in graph])
    below = nx.descendants(graph, fork.name)
    dominators = nx.immediate_dominators(graph, fork.name)  # a join's is the fork where disjoint paths lead to it
    depths = dict.fromkeys(range(len(fork.params.outputs)), 0)
    for join in (s for s in design.stages if dominators.get(s.name) == fork.name and len(s.params.inputs) > 1):
        k = np.arange(2 * join.params.outputs[0].words)
        needs: dict[Port, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
        for port in range(len(join.params.inputs)):
            start = Port(join.name, port)
            needed = _walk(by_name, into, below, fork, start, np.asarray(join.params.needed(k, port)), _needed, np.minimum)
            accepted = _walk(
                by_name, into, below, fork, start, np.asarray(join.params.accepted(k, port)), _accepted, np.maximum
            )
            needs[start] = {branch: (needed[branch], accepted[branch]) for branch in needed}
        for here, mine in needs.items():
            for there, others in needs.items():
                for p, (needed_p, _) in mine.items() if here != there else ():
                    for q, (_, accepted_q) in others.items():
                        if p != q:
                            depths[p] = max(depths[p], int((accepted_q - needed_p).max()))
    return depths


def _needed(stage: Stage, count: np.ndarray, port: int) -> np.ndarray:
    """Words that ``stage`` must have taken to offer ``count`` words."""
    return np.where(count > 0, stage.params.needed(np.maximum(count - 1, 0), port), 0)


def _accepted(stage: Stage, count: np.ndarray, port: int) -> np.ndarray:
    """Words that ``stage`` can have taken while no more than ``count`` have left it."""
    return np.asarray(stage.params.accepted(count, port))


def _walk(
    stages: dict[str, Stage],
    into: dict[Port, Port],
    below: set[str],
    fork: Stage,
    start: Port,
    count: np.ndarray,
    step: Callable[[Stage, np.ndarray, int], np.ndarray],
    merge: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> dict[int, np.ndarray]:
    """Follow ``count`` words at the input port ``start`` back to each branch of ``fork`` they come from."""
    found: dict[int, np.ndarray] = {}
    counts = {start: count}
    order = {name: k for k, name in enumerate(stages)}
    while counts:
        port = max(counts, key=lambda p: (order[p.stage], p.index))
        count, source = counts.pop(port), into[port]
        if source.stage == fork.name:
            found[source.index] = merge(found[source.index], count) if source.index in found else count
        elif source.stage in below:
            stage = stages[source.stage]
            for index in range(len(stage.params.inputs)):
                back, words = Port(stage.name, index), step(stage, count, index)
                counts[back] = merge(counts[back], words) if back in counts else words
    return found
