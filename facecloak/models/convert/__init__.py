"""From published network files to one ONNX graph: opset 18, dynamic batch, float32, the aligned crop as input."""
