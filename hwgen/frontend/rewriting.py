"""A model while it is rewritten."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["LAYOUT", "Normalised"]

LAYOUT = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  #: data stay, shapes change


@dataclass(kw_only=True)
class Normalised:
    """A model while it is rewritten.

    Parameters
    ----------
    model
        A copy; its nodes have unique names.
    notes
        For the names of nodes that were rewritten: into what.
    original
        Tensor names of the given model.
    given_names
        Of its nodes, made unique, in file order.
    """

    model: onnx.ModelProto
    notes: dict[str, str] = field(default_factory=dict)
    original: frozenset[str] = frozenset()
    given_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.constants = {t.name: t for t in self.model.graph.initializer}
        self.names = {o for n in self.model.graph.node for o in n.output} | set(self.constants)
        self.names |= {i.name for i in self.model.graph.input}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """In file order; a list of its own."""
        return list(self.model.graph.node)

    def replace(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """``nodes`` in the place of all nodes."""
        copies = []
        for node in nodes:
            copies.append(onnx.NodeProto())
            copies[-1].CopyFrom(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)

    def array(self, name: str) -> np.ndarray | None:
        """The constant ``name``; None where it is not one."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def fresh(self, stem: str) -> str:
        """A name that is not taken yet, ``stem`` if possible; from now on it is."""
        name, k = stem, 0
        while name in self.names:
            name, k = f"{stem}_{k}", k + 1
        self.names.add(name)
        return name

    def constant(self, stem: str, array: np.ndarray) -> str:
        """Add an initializer; returns its name."""
        name = self.fresh(stem)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.model.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name

    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor."""
        return {o: n for n in self.model.graph.node for o in n.output}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that read each tensor, one entry for each input that does."""
        table: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for i in node.input:
                table.setdefault(i, []).append(node)
        return table
