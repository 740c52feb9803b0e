"""What imported networks call where MindSpore has no operator of ONNX's meaning; nothing here needs `onnx`."""
