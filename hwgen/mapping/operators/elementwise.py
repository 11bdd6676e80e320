"""Operators that take their inputs word by word: add, table, concat, pad, softmax, argmax."""

from collections.abc import Iterator
from dataclasses import replace
from math import gcd

from ...graph import Add, ArgMax, Concat, Graph, Node, Pad, Softmax, Table
from ...streams import Stream
from ...templates.add import AddParams, add_block, programmable_add
from ...templates.argmax import ArgMaxParams
from ...templates.concat import ConcatParams
from ...templates.pair_table import PairTableParams
from ...templates.softmax import softmax_params
from ...templates.table import table_params
from ...templates.window import Padding, WindowParams
from .base import Block, Unrolling, divisors
from .requantiser import Formats

__all__ = ["ElementwiseOperator"]


class ElementwiseOperator:
    """A node without multipliers whose only unrolling is the number of channels in a word."""

    macs = 0

    def __init__(self, node: Add | Table | Concat | Pad | Softmax | ArgMax, graph: Graph, formats: Formats | None = None):
        self.node: Node = node
        self.programmable = formats is not None
        self.sources = [graph.tensors[i] for i in node.inputs]
        self.result = graph.tensors[node.output]
        if isinstance(node, Add):
            a, b = (s.type for s in self.sources)
            block = add_block(a, b, self.result.type, node.lo, node.hi, lanes=1, words=self.result.elements)
            if formats is not None:
                earlier = formats.of(f"{node.name}_add") if formats.earlier else None
                block = programmable_add(node.name, a, b, self.result.type, node.lo, node.hi, block[0], earlier)
            self.add: AddParams | PairTableParams = block[0]
            self.add_contents = block[1]

    def multipliers(self, u: Unrolling) -> int:
        return 0

    @property
    def channels(self) -> int:
        """The channels that ``lanes`` must divide; 1 where the hardware takes one element at a time."""
        if isinstance(self.node, Softmax | ArgMax):
            return 1
        return gcd(*(s.shape[2] for s in self.sources))

    def reference(self) -> Unrolling:
        return Unrolling(lanes=self.channels)

    def unrollings(self, multipliers: int) -> Iterator[Unrolling]:
        for lanes in divisors(self.channels):
            yield Unrolling(lanes=lanes)

    def blocks(self, u: Unrolling) -> tuple[Block, ...]:
        source = self.sources[0]
        element, output = source.type.integer, self.result.type.integer
        height, width, channels = source.shape
        stream = Stream(element=element, lanes=u.lanes, words=source.elements // u.lanes)
        node = self.node
        match node:
            case Add():
                add = replace(self.add, lanes=u.lanes, words=stream.words)
                return (Block(suffix="add", params=add, contents=lambda: self.add_contents),)
            case Table():
                params, values = table_params(stream, output, node.table, self.programmable)
                return (Block(suffix="table", params=params, contents=(lambda: values) if values is not None else None),)
            case Concat():
                counts = tuple(s.shape[2] for s in self.sources)
                return (
                    Block(
                        suffix="join",
                        params=ConcatParams(element=element, lanes=u.lanes, channels=counts, pixels=height * width),
                    ),
                )
            case Pad():
                frame = WindowParams(
                    element=element,
                    height=height,
                    width=width,
                    channels=channels,
                    lanes=u.lanes,
                    kernel=(1, 1),
                    pads=node.pads,
                    pad_value=element.min if self.programmable else node.value,
                    programmable=self.programmable,
                )
                padding = Padding(value=node.value)
                return (Block(suffix="window", params=frame, contents=(lambda: padding) if self.programmable else None),)
            case Softmax():
                soft, contents = softmax_params(source.type, self.result.type, channels, height * width)
                return (Block(suffix="softmax", params=soft, contents=lambda: contents),)
            case ArgMax():
                return (Block(suffix="argmax", params=ArgMaxParams(element=element, channels=channels, last=node.last)),)
            case _:
                raise TypeError(f"node must be elementwise, not {type(node).__name__}")
