"""Other implementations, one file each."""

from __future__ import annotations

from ..contestant import Peer
from .ggml_flash import GgmlFlash
from .mindspore_unfused import MindSporeUnfused
from .onnxruntime_gqa import OnnxRuntimeGqa
from .openvino_sdpa import OpenVinoStateful
from .torch_sdpa import TorchGqa, TorchRows
from .vllm_cpu import VllmCpu

PEERS: tuple[type[Peer], ...] = (
    VllmCpu, TorchRows, TorchGqa, GgmlFlash, OpenVinoStateful, OnnxRuntimeGqa, MindSporeUnfused
)  # fmt: skip
