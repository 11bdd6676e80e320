"""From ONNX files to :class:`hwgen.graph.Graph`."""
