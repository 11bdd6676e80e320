"""Train the demo's network, quantise it and write it beside this file: ``python -m hwgen.models.digits.train [FOLDER]``.

Needs scikit-learn (``pip install 'hwgen[train]'``) for the data; the training is plain NumPy. About ten seconds on one thread.
Architecture: conv 8 → conv 16 → max pool → conv 16 → dense 10, kernels 3×3, Relu after each convolution.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hwgen.frontend.calibration import quantize_float
from hwgen.oracle import Oracle

EPOCHS, BATCH, RATE, DECAY, SEED = 30, 32, 2e-3, 1e-4, 1
HELD_OUT, CALIBRATION = 360, 200  # frames
CHANNELS = ((1, 8), (8, 16), (16, 16))

Weights = list[np.ndarray]  #: w, b of each convolution (OIHW), then of the dense layer (out, in)


def load() -> tuple[np.ndarray, np.ndarray]:
    """Images (frames, 1, 8, 8) of 0..1 and labels, shuffled."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.target))
    return (data.images[order, None] / 16).astype(np.float32), data.target[order]


def initial(rng: np.random.Generator) -> Weights:
    """He initialisation."""
    shapes = [(o, i, 3, 3) for i, o in CHANNELS] + [(10, 256)]
    weights: Weights = []
    for shape in shapes:
        weights.append(rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32))
        weights.append(np.zeros(shape[0], np.float32))
    return weights


def columns(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) to its padded 3×3 windows, (N·H·W, C·9)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * 9)


def conv(cols: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Convolution of ``columns`` of an array of ``shape``, without bias: (N, O, H, W)."""
    n, _, height, width = shape
    return (cols @ w.reshape(len(w), -1).T).reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def forward(x: np.ndarray, weights: Weights) -> tuple[np.ndarray, list[Any]]:
    """Logits (N, 10), and what the way back needs."""
    saved: list[Any] = []
    for k in range(3):
        w, b = weights[2 * k : 2 * k + 2]
        cols = columns(x)
        y = np.maximum(conv(cols, w, x.shape) + b[:, None, None], 0)
        saved.append((x.shape, cols, y))
        x = y
        if k == 1:  # max pool 2×2
            n, c, height, width = y.shape
            x = y.reshape(n, c, height // 2, 2, width // 2, 2).max((3, 5))
    flat = x.reshape(len(x), -1)
    saved.append(flat)
    return flat @ weights[6].T + weights[7], saved


def gradients(x: np.ndarray, labels: np.ndarray, weights: Weights) -> Weights:
    """Of the mean cross entropy, in the order of ``weights``."""
    logits, saved = forward(x, weights)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(x)), labels] -= 1
    p /= len(x)
    grads: Weights = [p.T @ saved[3], p.sum(0)]
    dy = (p @ weights[6]).reshape(saved[2][2].shape)
    for k in (2, 1, 0):
        shape, cols, y = saved[k]
        if k == 1:  # through the max pool: to the pixels that were the maximum
            pooled = saved[2][0]
            blocks = y.reshape(*pooled[:2], pooled[2], 2, pooled[3], 2)
            is_max = blocks == blocks.max((3, 5), keepdims=True)
            dy = (is_max / is_max.sum((3, 5), keepdims=True) * dy[:, :, :, None, :, None]).reshape(y.shape)
        dy = (dy * (y > 0)).astype(np.float32)
        rows = dy.transpose(0, 2, 3, 1).reshape(-1, y.shape[1])
        grads = [(rows.T @ cols).reshape(weights[2 * k].shape), rows.sum(0), *grads]
        if k:
            turned = weights[2 * k].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
            dy = conv(columns(dy), turned, dy.shape).reshape(shape)
    return grads


def train(x: np.ndarray, labels: np.ndarray) -> Weights:
    """Adam (Kingma and Ba 2015) with weight decay, cosine schedule; half of the batches shifted by a pixel."""
    rng = np.random.default_rng(SEED)
    weights = initial(rng)
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    steps = EPOCHS * (len(x) // BATCH)
    for step in range(steps):
        if step % (len(x) // BATCH) == 0:
            order = rng.permutation(len(x))
        batch = order[step % (len(x) // BATCH) * BATCH :][:BATCH]
        images = np.roll(x[batch], rng.integers(-1, 2, 2), (2, 3)) if rng.random() < 0.5 else x[batch]
        rate = RATE * (1 + np.cos(np.pi * step / steps)) / 2
        for k, g in enumerate(gradients(images, labels[batch], weights)):
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g * g
            scaled = first[k] / (1 - 0.9 ** (step + 1)) / (np.sqrt(second[k] / (1 - 0.999 ** (step + 1))) + 1e-8)
            weights[k] = (weights[k] - rate * (scaled + DECAY * weights[k])).astype(np.float32)
    return weights


def to_onnx(weights: Weights) -> onnx.ModelProto:
    """The float network, input (1, 1, 8, 8), output ``logits`` (1, 10)."""
    names = ["c1w", "c1b", "c2w", "c2b", "c3w", "c3b", "fw", "fb"]
    nodes, x = [], "input"
    for k in (1, 2, 3):
        nodes.append(helper.make_node("Conv", [x, f"c{k}w", f"c{k}b"], [f"c{k}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"]))
        x = f"r{k}"
        if k == 2:
            nodes.append(helper.make_node("MaxPool", [x], ["p"], kernel_shape=[2, 2], strides=[2, 2]))
            x = "p"
    nodes.append(helper.make_node("Flatten", [x], ["f"]))
    nodes.append(helper.make_node("Gemm", ["f", "fw", "fb"], ["logits"], transB=1))
    graph = helper.make_graph(
        nodes,
        "digits_cnn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(w, name) for name, w in zip(names, weights, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(folder: Path) -> None:
    images, labels = load()
    x, y = images[:-HELD_OUT], labels[:-HELD_OUT]
    held, truth = images[-HELD_OUT:], labels[-HELD_OUT:]
    weights = train(x, y)
    model = to_onnx(weights)
    quantised = quantize_float(model, x[:CALIBRATION])
    logits = Oracle(quantised).run(held)["logits"]
    for name, y_held in (("float", forward(held, weights)[0]), ("int8", logits)):
        print(f"{name}: {(y_held.argmax(1) == truth).mean():.1%} of {HELD_OUT} held-out digits")
    onnx.save(model, folder / "digits_cnn_float.onnx")
    onnx.save(quantised, folder / "digits_cnn_int8_qdq_sym_perch.onnx")
    np.savez_compressed(folder / "samples.npz", inputs=held, labels=truth)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
