"""onnxruntime's GroupQueryAttention, from the contrib operators; with one query head per KV head it is multi-head."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.case import Shape
from benchmarks.contestant import Peer
from benchmarks.ring import Array, Ring

if TYPE_CHECKING:
    import onnxruntime

_ELEMENTS = {"fp16": TensorProto.FLOAT16, "fp32": TensorProto.FLOAT}


class OnnxRuntimeGqa(Peer):
    """Past and present share their memory, as in onnxruntime's own generation: a step writes its one position."""

    name: ClassVar = "onnxruntime GQA"
    package: ClassVar = "onnxruntime"
    dtypes: ClassVar = frozenset(_ELEMENTS)

    def __init__(self, ring: Ring, threads: int) -> None:
        import onnxruntime

        shape = ring.case.shape
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        model = _model(shape, _ELEMENTS[ring.case.dtype])
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._output = np.empty((shape.batch, 1, shape.query_heads * shape.head_size), ring.query.dtype)
        self._feeds = {
            "query": ring.query.reshape(self._output.shape),
            "past_lengths": np.full(shape.batch, shape.kv_length - 1, np.int32),
            "length": np.array([shape.kv_length], np.int32),
        }
        self._last = [self._last_position(arrays) for arrays in (ring.keys, ring.values)]
        self._bindings = [self._binding(ring, slot) for slot in range(len(ring))]

    def _last_position(self, arrays: list[Array]) -> Array:
        """The newest token's (B, 1, kvN * D); the same in every slot."""
        last = arrays[0][:, :, -1]
        return np.ascontiguousarray(last).reshape(len(last), 1, -1)

    def _binding(self, ring: Ring, slot: int) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        key, value = ring.keys[slot], ring.values[slot]
        inputs = {**self._feeds, "key": self._last[0], "value": self._last[1], "past_key": key, "past_value": value}
        outputs = {"output": self._output, "present_key": key, "present_value": value}
        for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def attend(self, slot: int) -> None:
        self._session.run_with_iobinding(self._bindings[slot])

    def output(self) -> Array:
        return self._output


def _model(shape: Shape, element: int) -> onnx.ModelProto:
    newest = (shape.batch, 1, shape.kv_heads * shape.head_size)
    query = (shape.batch, 1, shape.query_heads * shape.head_size)
    inputs = {
        "query": (element, query),
        "key": (element, newest),
        "value": (element, newest),
        "past_key": (element, shape.cache),
        "past_value": (element, shape.cache),
        "past_lengths": (TensorProto.INT32, (shape.batch,)),
        "length": (TensorProto.INT32, (1,)),
    }
    outputs = {"output": query, "present_key": shape.cache, "present_value": shape.cache}
    node = helper.make_node(
        "GroupQueryAttention", list(inputs), list(outputs), domain="com.microsoft",
        num_heads=shape.query_heads, kv_num_heads=shape.kv_heads, scale=shape.scale,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "decode",
        [helper.make_tensor_value_info(name, *of) for name, of in inputs.items()],
        [helper.make_tensor_value_info(name, element, of) for name, of in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
