"""ResNet-18 and MobileNetV1, 224 × 224, int8, with random weights: networks larger than a chip.

The shapes are those of the papers (He 2015, Howard 2017), batch normalisation folded. Weights are normal with the deviation
that keeps activations in range (He 2015b), quantised by ONNX Runtime with random images.

    python -m benchmarks.large_networks FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from hwgen.frontend.calibration import quantize_float

from .networks import Net

__all__ = ["LARGE", "images", "quantised"]


def _resnet18() -> onnx.ModelProto:
    net = Net(3, 224, 224)
    x = net.pool("MaxPool", net.conv("x", 64, 7, 2), 3, 2)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = net.conv(net.conv(x, channels, 3, stride), channels, 3, relu=False)
            x = net.add(y, net.conv(x, channels, 1, stride, relu=False) if stride > 1 else x, relu=True)
    return net.classify(x)


def _mobilenet() -> onnx.ModelProto:
    net = Net(3, 224, 224)
    x = net.conv("x", 32, 3, 2)
    for channels, stride in (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1),
    ):  # fmt: skip
        x = net.conv(net.conv(x, net.channels[x], 3, stride, groups=net.channels[x]), channels)
    return net.classify(x)


LARGE = {"resnet18": _resnet18, "mobilenet": _mobilenet}  #: what makes them, without weights


def images(count: int, seed: int = 0) -> np.ndarray:
    """Random pictures (count, 3, 224, 224), float32: noise of several sizes of grain."""
    rng = np.random.default_rng(seed)
    total = np.zeros((count, 3, 224, 224), np.float32)
    for grain in (1, 4, 16, 56):
        noise = rng.normal(size=(count, 3, 224 // grain, 224 // grain)).astype(np.float32)
        total += noise.repeat(grain, 2).repeat(grain, 3)
    return total / 2


def quantised(name: str) -> onnx.ModelProto:
    """A network of ``LARGE`` in QDQ form, always the same."""
    model, rng = LARGE[name](), np.random.default_rng(1)
    shapes = {c.name: tuple(c.dims) for c in model.graph.initializer}
    del model.graph.initializer[:]
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul"):
            shape = shapes[node.input[1]]
            outputs, terms = (shape[0], int(np.prod(shape[1:]))) if node.op_type == "Conv" else (shape[1], shape[0])
            weights = rng.normal(size=shape, scale=np.sqrt(2 / terms)).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(weights, node.input[1]))
        if node.op_type == "Conv":
            bias = rng.normal(size=outputs, scale=0.1).astype(np.float32)
            node.input.append(f"{node.input[1]}_bias")
            model.graph.initializer.append(numpy_helper.from_array(bias, node.input[2]))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return quantize_float(onnx.shape_inference.infer_shapes(model), images(4))


if __name__ == "__main__":
    for name in LARGE:
        onnx.save(quantised(name), Path(sys.argv[1]) / f"{name}_int8.onnx")
