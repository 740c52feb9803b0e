"""Decoders as ONNX: the step of one or more tokens with a growing cache, from a network's configuration and weights.

MindSpore's own export to ONNX lacks operators that decoders have, and dynamic shapes; hence a writer of nodes for each
family, a family a file.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import ml_dtypes
import numpy as np
import onnx_ir as ir
from mindspore import Parameter

from ..decoder import Decoder
from .gemma import GemmaWriter
from .llama import LlamaWriter
from .qwen3 import Qwen3Writer

WRITERS: dict[str, type[LlamaWriter]] = {
    "llama": LlamaWriter,
    "mistral": LlamaWriter,
    "qwen2": LlamaWriter,
    "qwen3": Qwen3Writer,
    "gemma": GemmaWriter,
}
# A protobuf, which an ONNX file is, holds less than 2 GB.
MOST_BYTES_INSIDE = 1 << 30


def write_onnx(net: Decoder, path: Path) -> None:
    """Write the step of `net` to `path`; weights of more than 1 GB to a file beside it, with "_data" behind its name.

    `LlamaWriter` says what goes in and out. The cache grows, whatever that of `net` does. Raises ValueError for a
    family that can't be written.
    """
    architecture = net.config.architecture
    if architecture not in WRITERS:
        raise ValueError(f"the model's family is {architecture!r}; as ONNX it must be one of {', '.join(WRITERS)}")
    weights = {name: _array(parameter) for name, parameter in net.weights().items()}
    beside = sum(array.nbytes for array in weights.values()) > MOST_BYTES_INSIDE
    ir.save(
        WRITERS[architecture](net.config, weights).write(), path, external_data=f"{path.name}_data" if beside else None
    )


def _array(parameter: Parameter) -> np.ndarray:
    array = parameter.asnumpy()
    return array.view(ml_dtypes.bfloat16) if parameter.dtype == ms.bfloat16 else array
