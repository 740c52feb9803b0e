"""What imported networks call where MindSpore has no operator of ONNX's meaning. Nothing here needs the onnx package."""
