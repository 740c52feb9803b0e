"""onnxruntime's GroupQueryAttention, from the contrib operators; with one query head per KV head it is multi-head."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
from onnx import helper

from ..contestant import Peer
from ..ring import Array, Ring

if TYPE_CHECKING:
    import onnxruntime


class OnnxRuntimeGqa(Peer):
    """Past and present share their memory, as in onnxruntime's own generation: a step writes its one position.

    Beside an int8 cache, with its scale for each channel, all else must be fp32.
    """

    name: ClassVar = "onnxruntime GQA"
    package: ClassVar = "onnxruntime"
    dtypes: ClassVar = frozenset({"fp16", "fp32", "int8"})

    def __init__(self, ring: Ring, threads: int) -> None:
        import onnxruntime

        shape = ring.case.shape
        dtype = np.dtype(np.float32) if ring.scales is not None else ring.query.dtype
        self._output = np.empty((shape.batch, 1, shape.query_heads * shape.head_size), dtype)
        newest = [array[:, :, -1].astype(dtype).reshape(shape.batch, 1, -1) for array in ring.floats()]
        self._inputs: dict[str, Array] = {
            "query": ring.query.astype(dtype).reshape(self._output.shape),
            "key": newest[0],
            "value": newest[1],
            "past_key": ring.keys[0],
            "past_value": ring.values[0],
            "past_lengths": np.full(shape.batch, shape.kv_length - 1, np.int32),
            "length": np.array([shape.kv_length], np.int32),
        }
        if ring.scales is not None:
            scales = ring.scales.astype(np.float32).reshape(2, 1, shape.kv_heads, 1, shape.head_size)
            self._inputs |= {"key_scale": scales[0], "value_scale": scales[1]}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = self._model(ring).SerializeToString()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._bindings = [self._binding(*cache) for cache in zip(ring.keys, ring.values, strict=True)]

    def _outputs(self, key: Array, value: Array) -> dict[str, Array]:
        return {"output": self._output, "present_key": key, "present_value": value}

    def _model(self, ring: Ring) -> onnx.ModelProto:
        inputs, outputs = self._inputs, self._outputs(ring.keys[0], ring.values[0])
        shape = ring.case.shape
        attributes: dict[str, object] = {"num_heads": shape.query_heads, "kv_num_heads": shape.kv_heads}
        names = list(inputs)
        if ring.scales is not None:
            names[7:7] = [""] * 5  # inputs of other features
            attributes |= {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
        node = helper.make_node(
            "GroupQueryAttention",
            names,
            list(outputs),
            domain="com.microsoft",
            scale=ring.case.shape.scale,
            **attributes,
        )
        graph = helper.make_graph([node], "decode", _described(inputs), _described(outputs))
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _binding(self, key: Array, value: Array) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        inputs = self._inputs | {"past_key": key, "past_value": value}
        for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, self._outputs(key, value))):
            for name, array in arrays.items():
                bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def attend(self, slot: int) -> None:
        self._session.run_with_iobinding(self._bindings[slot])

    def output(self) -> Array:
        return self._output


def _described(arrays: dict[str, Array]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
