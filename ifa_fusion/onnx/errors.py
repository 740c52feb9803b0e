"""What is raised for a model that can't be imported."""


class OnnxError(ValueError):
    """An ONNX file that is broken, contradicts itself, or holds what can't be imported; the message says what."""
