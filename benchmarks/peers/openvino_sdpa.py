"""OpenVINO's stateful attention: the cache is the model's state, which the CPU plugin fuses with the attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..case import Shape
from ..contestant import Peer
from ..ring import Array, Ring

if TYPE_CHECKING:
    import openvino

_PRECISIONS = {"fp16": "f16", "bf16": "bf16", "fp32": "f32", "int8": "u8"}


class OpenVinoStateful(Peer):
    """One request, with a state of its own, for each slot. A step adds one position to the state it runs on."""

    name: ClassVar = "OpenVINO stateful"
    package: ClassVar = "openvino"
    dtypes: ClassVar = frozenset(_PRECISIONS)

    def __init__(self, ring: Ring, threads: int) -> None:
        import openvino

        shape = ring.case.shape
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "KV_CACHE_PRECISION": _PRECISIONS[ring.case.dtype],
            "INFERENCE_PRECISION_HINT": "f16" if ring.case.dtype == "int8" else _PRECISIONS[ring.case.dtype],
        }
        compiled = openvino.Core().compile_model(_model(shape), "CPU", options)
        key, value = ring.floats()
        query, beam = ring.query.astype(np.float32)[:, :, None], np.arange(shape.batch, dtype=np.int32)
        self._steps = [
            [query, *(np.ascontiguousarray(array[:, :, position, None]) for array in (key, value)), beam]
            for position in (-2, -1)
        ]
        past = {name: np.ascontiguousarray(a[:, :, :-2]) for name, a in (("key", key), ("value", value))}
        self._requests = [self._request(compiled, past) for _ in range(len(ring))]

    def _request(self, compiled: openvino.CompiledModel, past: dict[str, Array]) -> openvino.InferRequest:
        """A request whose state holds all positions but the newest, which its inputs hold.

        The step before the newest is made here, because the first one after a state was set moves it all, to have
        room to grow.
        """
        import openvino

        request = compiled.create_infer_request()
        for state in request.query_state():
            state.state = openvino.Tensor(past[state.name])
        before, newest = self._steps
        request.infer(before)
        for index, array in enumerate(newest):
            request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
        return request

    def attend(self, slot: int) -> None:
        self._requests[slot].infer()
        self._last = self._requests[slot]

    def output(self) -> Array:
        return self._last.get_output_tensor(0).data


def _model(shape: Shape) -> openvino.Model:
    """The form in which decoders are exported for OpenVINO: the beam's Gather belongs to what it recognises."""
    import openvino
    import openvino.opset13 as ops
    from openvino.op.util import Variable, VariableInfo

    batch, heads, kv_heads, _, size = shape.batch, shape.query_heads, shape.kv_heads, shape.kv_length, shape.head_size
    query = ops.parameter([batch, heads, 1, size], np.float32, "query")
    newest = [ops.parameter([batch, kv_heads, 1, size], np.float32, name) for name in ("key", "value")]
    beam = ops.parameter([batch], np.int32, "beam")
    updates, caches = [], []
    for name, new in zip(("key", "value"), newest, strict=True):
        info = VariableInfo()
        info.variable_id, info.data_type = name, openvino.Type.f32
        info.data_shape = openvino.PartialShape([batch, kv_heads, -1, size])
        variable = Variable(info)
        empty = ops.constant(np.zeros((batch, kv_heads, 0, size), np.float32))
        past = ops.gather(ops.read_value(empty, variable), beam, ops.constant(0))
        cache = ops.concat([past, new], axis=2)
        updates.append(ops.assign(cache, variable))
        caches.append(_repeated(cache, shape))
    attention = ops.scaled_dot_product_attention(query, *caches, None, None, causal=False)
    return openvino.Model([ops.result(attention)], updates, [query, *newest, beam])


def _repeated(cache: openvino.Node, shape: Shape) -> openvino.Node:
    """Every KV head once for each query head of its group."""
    import openvino.opset13 as ops

    if shape.group == 1:
        return cache
    target = np.array([1, 1, shape.group, 1, 1], np.int64)
    repeated = ops.broadcast(
        ops.unsqueeze(cache, ops.constant(2)), ops.constant(target), broadcast_spec="BIDIRECTIONAL"
    )
    heads = np.array([shape.batch, shape.query_heads, -1, shape.head_size], np.int64)
    return ops.reshape(repeated, ops.constant(heads), special_zero=False)
