"""What any ONNX network moves: its operators, and the bytes of the tensors between them, by shapes alone.

Operators that only look at a tensor in another way (Reshape, QuantizeLinear, ...) make no tensor. What works on one element
at a time (Relu, BatchNormalization, adding a constant, ...) joins the arithmetic operator before it if nobody else reads the
value between.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx

from ..errors import HwgenError
from ..ilp.scratchpad import Operator, Problem, Tensor
from .shapes import Shapes

__all__ = ["Footprint", "footprint"]

VIEWS = {
    "Cast", "DequantizeLinear", "Dropout", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Unsqueeze",
}  # fmt: skip
ELEMENTWISE = {
    "Abs", "Add", "BatchNormalization", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Not", "PRelu", "Pow",
    "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish",
    "Tanh", "ThresholdedRelu",
}  # fmt: skip
ARITHMETIC = ELEMENTWISE | {"Conv", "ConvInteger", "ConvTranspose", "Einsum", "Gemm", "MatMul", "MatMulInteger"}
SHAPE_ONLY = {"Shape", "Size"}  #: constants, whatever goes in


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Tensors and operators by number, for the solver; their names, for the reader.

    Parameters
    ----------
    operator_names
        ``Conv conv1``; of joined ones the first.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    tensor_names: tuple[str, ...]
    operator_names: tuple[str, ...]

    def problem(self, budget: int, *, reorder: bool = False) -> Problem:
        """The scheduling problem for a scratchpad of ``budget`` bytes."""
        return Problem(tensors=self.tensors, operators=self.operators, budget=budget, reorder=reorder)


@dataclass(kw_only=True)
class _Step:
    """One operator while the graph is read: names of what it reads, of its weights, and of what it makes."""

    name: str
    kind: str
    inputs: list[str]
    weights: list[str]
    outputs: list[str]


def footprint(model: onnx.ModelProto, *, bits: int = 8, weights: bool = False, join: bool = True) -> Footprint:
    """Operators and tensors of ``model``, each element of ``bits`` bits, a batch of symbolic size being 1.

    Parameters
    ----------
    weights
        Whether constants of more than one dimension have to be in the scratchpad, too. Vectors (biases, scales) never have to.
    join
        Whether what works on one element at a time becomes part of the operator before it.

    Raises
    ------
    HwgenError
        A shape that can't be known beforehand; no operator at all.
    """
    if bits < 1:
        raise ValueError(f"bits must be positive, not {bits}")
    shapes = Shapes.of(model)
    steps, outputs = _read(shapes)
    steps = _needed(_join(steps, outputs, shapes) if join else steps, outputs)
    if not steps:
        raise HwgenError("the network has no operators that compute anything")
    numbers: dict[str, int] = {}
    for step in steps:
        for name in (*step.inputs, *(step.weights if weights else ()), *step.outputs):
            numbers.setdefault(name, len(numbers))
    made = {name for step in steps for name in step.outputs}
    return Footprint(
        tensors=tuple(
            Tensor(size=-(-prod(shapes[name]) * bits // 8), external=name not in made, output=name in outputs)
            for name in numbers
        ),
        operators=tuple(
            Operator(
                inputs=tuple(numbers[n] for n in (*step.inputs, *(step.weights if weights else ()))),
                outputs=tuple(numbers[n] for n in step.outputs),
            )
            for step in steps
        ),
        tensor_names=tuple(numbers),
        operator_names=tuple(step.name for step in steps),
    )


def _read(shapes: Shapes) -> tuple[list[_Step], set[str]]:
    """Operators without views and constants, and the names of the tensors that are the network's outputs."""
    constant = set(shapes.constants)
    same: dict[str, str] = {}  # a view's output: the tensor that it shows
    steps = []
    for node in shapes.graph.node:
        read = [same.get(n, n) for n in dict.fromkeys(shapes.reads(node))]
        if node.op_type in SHAPE_ONLY or constant.issuperset(read):
            constant.update(node.output)
            if node.op_type in VIEWS and read:
                same[node.output[0]] = read[0]
            continue
        if node.op_type in VIEWS and node.domain in ("", "ai.onnx"):
            same[node.output[0]] = read[0]
            continue
        moved = [n for n in dict.fromkeys(read) if n not in constant]
        steps.append(
            _Step(
                name=f"{node.op_type} {node.name or node.output[0]}",
                kind=node.op_type,
                inputs=[n for n in moved if prod(shapes[n])],
                weights=[n for n in dict.fromkeys(read) if n in constant and sum(d > 1 for d in shapes[n]) > 1],
                outputs=[n for n in node.output if n],
            )
        )
    return steps, {same.get(o.name, o.name) for o in shapes.graph.output}


def _join(steps: Sequence[_Step], outputs: set[str], shapes: Shapes) -> list[_Step]:
    """What works on one element at a time becomes part of the arithmetic before it."""
    readers = Counter(n for step in steps for n in step.inputs)
    made: dict[str, _Step] = {}
    joined: list[_Step] = []
    for step in steps:
        before = made.get(step.inputs[0]) if len(step.inputs) == 1 else None
        value = step.inputs[0] if step.inputs else ""
        if (
            before is not None
            and step.kind in ELEMENTWISE
            and before.kind in ARITHMETIC
            and readers[value] == 1
            and value not in outputs
            and prod(shapes[step.outputs[0]]) == prod(shapes[value])
        ):
            before.outputs = step.outputs[:1]
            before.weights += [n for n in step.weights if n not in before.weights]
            step = before
        else:
            joined.append(step)
        made.update(dict.fromkeys(step.outputs, step))
    return joined


def _needed(steps: Sequence[_Step], outputs: set[str]) -> list[_Step]:
    """Without operators and outputs that nobody reads."""
    wanted = set(outputs)
    kept = []
    for step in reversed(steps):
        step.outputs = [n for n in step.outputs if n in wanted]
        if step.outputs:
            wanted.update(step.inputs)
            kept.append(step)
    return kept[::-1]
