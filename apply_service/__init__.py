"""The apply service: adds users' masks to photos. Light; needs neither torch nor onnx."""
