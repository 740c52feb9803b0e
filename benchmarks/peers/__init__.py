"""Other implementations, one file each."""

from __future__ import annotations

from benchmarks.contestant import Peer
from benchmarks.peers.ggml_flash import GgmlFlash
from benchmarks.peers.mindspore_unfused import MindSporeUnfused
from benchmarks.peers.onnxruntime_gqa import OnnxRuntimeGqa
from benchmarks.peers.openvino_sdpa import OpenVinoStateful
from benchmarks.peers.torch_sdpa import TorchGqa, TorchRows
from benchmarks.peers.vllm_cpu import VllmCpu

PEERS: tuple[type[Peer], ...] = (
    VllmCpu, TorchRows, TorchGqa, GgmlFlash, OpenVinoStateful, OnnxRuntimeGqa, MindSporeUnfused
)  # fmt: skip
