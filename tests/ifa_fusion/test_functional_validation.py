"""What the operator refuses: the rows of the document's error table, in both modes."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from operator_problem import ATTRIBUTES, MODES, call

from ifa_fusion._operands import TensorSpec, operand_of
from ifa_fusion._validation import Call, check_call
from ifa_fusion.errors import IfaValueError

pytestmark = pytest.mark.grid


def tensor(*shape: int, dtype: Any = ms.float16) -> Tensor:
    return Tensor(np.zeros(shape, np.float32)).astype(dtype)


# Valid in themselves: B = 2, N = 4, kvN = 2, S = 5, D = 8.
BSH: dict[str, Any] = {
    "query": tensor(2, 1, 32),
    "key": [tensor(2, 5, 16)],
    "value": [tensor(2, 5, 16)],
    "num_heads": 4,
    "num_key_value_heads": 2,
    "input_layout": "BSH",
    "scale_value": 0.5,
}
BNSD: dict[str, Any] = {
    **BSH,
    "query": tensor(2, 4, 1, 8),
    "key": [tensor(2, 2, 5, 8)],
    "value": [tensor(2, 2, 5, 8)],
    "input_layout": "BNSD",
}
# 3 blocks of 16 positions, at most 2 for a sequence.
PAGED: dict[str, Any] = {
    **BSH,
    "key": [tensor(3, 16, 16)],
    "value": [tensor(3, 16, 16)],
    "actual_seq_lengths": [5, 20],
    "block_table": tensor(2, 2, dtype=ms.int32),
    "block_size": 16,
}
PAGED_BNSD: dict[str, Any] = {
    **PAGED,
    "query": tensor(2, 4, 1, 8),
    "key": [tensor(3, 2, 16, 8)],
    "value": [tensor(3, 2, 16, 8)],
    "input_layout": "BNSD",
}


def cache(*shape: int, dtype: Any = ms.float16) -> dict[str, Any]:
    return {"key": [tensor(*shape, dtype=dtype)], "value": [tensor(*shape, dtype=dtype)]}


FP32: dict[str, Any] = {**BSH, "query": tensor(2, 1, 32, dtype=ms.float32), **cache(2, 5, 16, dtype=ms.float32)}
INT8: dict[str, Any] = {**BSH, **cache(2, 5, 16, dtype=ms.int8), "antiquant_scale": tensor(2, 16)}
INT8_BNSD: dict[str, Any] = {**BNSD, **cache(2, 2, 5, 8, dtype=ms.int8), "antiquant_scale": tensor(2, 2, 1, 8)}
INT8_PAGED: dict[str, Any] = {
    **PAGED,
    **cache(3, 32, 16, dtype=ms.int8),
    "antiquant_scale": tensor(2),
    "block_size": 32,
}


def quant(*shape: int, dtype: Any = ms.float32) -> dict[str, Any]:
    return {"quant_scale2": tensor(*shape, dtype=dtype)}


def table(*shape: int, dtype: Any = ms.int32) -> dict[str, Any]:
    return {"block_table": tensor(*shape, dtype=dtype)}


@dataclass
class Wrong:
    """One fault: what is passed in place of what, and how it is refused."""

    row: int  # of the table in the operator's contract; 0 for what the table leaves out
    error: type[Exception]
    name: str  # the argument that the message has to name
    change: dict[str, Any]
    base: dict[str, Any] = field(default_factory=lambda: BSH)

    def __str__(self) -> str:
        what = "_".join(f"{name}={_brief(value)}" for name, value in self.change.items())
        paged = "-paged" if "block_table" in self.base else ""
        int8 = "-int8" if "antiquant_scale" in self.base else ""
        fp32 = "-fp32" if self.base is FP32 else ""
        return f"row{self.row}-{self.base['input_layout']}{paged}{int8}{fp32}-{what}"


def _brief(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}{len(value)}of{_brief(value[0]) if value else ''}"
    return str(value)


FAULTS = [
    Wrong(1, TypeError, "query", {"query": tensor(2, 1, 32, dtype=ms.int16)}),
    Wrong(1, TypeError, "query", {"query": tensor(2, 1, 32, dtype=ms.int8)}),
    Wrong(1, TypeError, "query", {"query": tensor(2, 1, 32, dtype=ms.float64)}),
    Wrong(1, TypeError, "query", {"query": tensor(2, 1, 32, dtype=ms.float32)}),
    Wrong(2, TypeError, "value", {"value": [tensor(2, 5, 16, dtype=ms.bfloat16)]}),
    Wrong(2, TypeError, "value", {"value": [tensor(2, 5, 16)]}, FP32),
    Wrong(3, TypeError, "key", cache(2, 5, 16, dtype=ms.float32)),
    Wrong(3, TypeError, "key", cache(3, 2, 16, 8, dtype=ms.float32), PAGED_BNSD),
    Wrong(3, TypeError, "value", {"value": [tensor(2, 5, 16, dtype=ms.float32)]}),
    Wrong(3, TypeError, "key", cache(2, 5, 16, dtype=ms.int16)),
    Wrong(3, TypeError, "key", cache(2, 5, 16, dtype=ms.bool_)),
    Wrong(3, TypeError, "value", {"value": [tensor(2, 5, 16, dtype=ms.int32)]}),
    Wrong(4, TypeError, "attn_mask", {"attn_mask": tensor(2, 5)}),
    Wrong(4, TypeError, "attn_mask", {"attn_mask": tensor(2, 5, dtype=ms.int32)}),
    Wrong(5, TypeError, "pse_shift", {"pse_shift": tensor(1, 4, 1, 5, dtype=ms.int8)}),
    Wrong(5, TypeError, "pse_shift", {"pse_shift": tensor(1, 4, 1, 5, dtype=ms.float32)}),
    Wrong(6, TypeError, "scale_value", {"scale_value": 1}),
    Wrong(6, TypeError, "scale_value", {"scale_value": "1.0"}),
    Wrong(6, TypeError, "scale_value", {"scale_value": None}),
    Wrong(6, TypeError, "scale_value", {"scale_value": Tensor(1, ms.int32)}),
    Wrong(6, TypeError, "scale_value", {"scale_value": Tensor(1, ms.bfloat16)}),
    Wrong(6, TypeError, "scale_value", {"scale_value": Tensor([1], ms.float32)}),
    Wrong(7, TypeError, "input_layout", {"input_layout": 1}),
    Wrong(7, TypeError, "input_layout", {"input_layout": None}),
    *(
        Wrong(8, TypeError, name, {name: value})
        for name in ("num_heads", "num_key_value_heads", "block_size", "inner_precise")
        for value in (1.0, True, "1", None)
    ),
    Wrong(9, TypeError, "quant_scale1", {"quant_scale1": tensor(1)}),
    Wrong(9, TypeError, "quant_scale1", {"quant_scale1": 1.0}),
    *(
        Wrong(10, TypeError, "quant_scale2", {"quant_scale2": scale})
        for scale in (1.0, [1.0], tensor(1), tensor(1, dtype=ms.bfloat16), tensor(1, dtype=ms.int32))
    ),
    *(
        Wrong(10, TypeError, "quant_offset2", {**quant(1), "quant_offset2": offset})
        for offset in (1.0, tensor(1), tensor(1, dtype=ms.int8))
    ),
    *(
        Wrong(11, TypeError, name, {name: parameter}, INT8)
        for name in ("antiquant_scale", "antiquant_offset")
        for parameter in (1.0, *(tensor(2, 16, dtype=dtype) for dtype in (ms.int8, ms.float64, ms.float32)))
    ),
    *(  # MindSpore looks at none of them when the output is quantised
        Wrong(row, TypeError, name, {**quant(1), **change})
        for row, name, change in (
            (1, "query", {"query": tensor(2, 1, 32, dtype=ms.int16)}),
            (2, "value", {"value": [tensor(2, 5, 16, dtype=ms.bfloat16)]}),
            (3, "key", cache(2, 5, 16, dtype=ms.int16)),
        )
    ),
    Wrong(12, TypeError, "actual_seq_lengths", {"actual_seq_lengths": tensor(2, dtype=ms.float32)}),
    Wrong(12, TypeError, "actual_seq_lengths", {"actual_seq_lengths": tensor(2, dtype=ms.int16)}),
    Wrong(12, TypeError, "actual_seq_lengths", {"actual_seq_lengths": [1.0, 2.0]}),
    Wrong(12, TypeError, "actual_seq_lengths", {"actual_seq_lengths": (True, 2)}),
    Wrong(12, TypeError, "actual_seq_lengths", {"actual_seq_lengths": 3}),
    Wrong(13, TypeError, "block_table", table(2, 2, dtype=ms.int64), PAGED),
    Wrong(13, TypeError, "block_table", table(2, 2, dtype=ms.float16), PAGED),
    Wrong(15, TypeError, "block_table", {"block_table": [[0, 1], [2, 0]]}, PAGED),
    Wrong(15, TypeError, "block_table", {"block_table": 1}, PAGED),
    *(
        Wrong(14, TypeError, "kv_padding_size", {"kv_padding_size": padding})
        for padding in (1, [1], tensor(1, dtype=ms.int32), tensor(dtype=ms.float32))
    ),
    Wrong(15, TypeError, "key", {"key": BSH["key"][0]}),
    Wrong(15, TypeError, "value", {"value": BSH["value"][0]}),
    Wrong(15, TypeError, "key", {"key": None}),
    Wrong(15, TypeError, "key", {"key": [1.0]}),
    Wrong(15, TypeError, "query", {"query": 1.0}),
    Wrong(15, TypeError, "query", {"query": None}),
    Wrong(15, TypeError, "query", {"query": [BSH["query"]]}),
    Wrong(15, TypeError, "attn_mask", {"attn_mask": [1, 0]}),
    Wrong(15, TypeError, "pse_shift", {"pse_shift": 1.0}),
    Wrong(15, TypeError, "dequant_scale1", {"dequant_scale1": 1.0}),
    Wrong(15, TypeError, "dequant_scale2", {"dequant_scale2": 1.0}),
    Wrong(16, IfaValueError, "actual_seq_lengths", {"actual_seq_lengths": tensor(3, dtype=ms.int64)}),
    Wrong(16, IfaValueError, "actual_seq_lengths", {"actual_seq_lengths": tensor(1, 2, dtype=ms.int64)}),
    Wrong(16, IfaValueError, "actual_seq_lengths", {"actual_seq_lengths": tensor(dtype=ms.int64)}),
    Wrong(16, IfaValueError, "actual_seq_lengths", {"actual_seq_lengths": [1, 2, 3]}),
    Wrong(16, IfaValueError, "actual_seq_lengths", {"actual_seq_lengths": []}),
    Wrong(17, ValueError, "input_layout", {"input_layout": "BSND"}),
    Wrong(17, ValueError, "input_layout", {"input_layout": "ABC"}),
    Wrong(17, ValueError, "input_layout", {"input_layout": ""}),
    Wrong(18, IfaValueError, "num_heads", {"num_heads": 3, "num_key_value_heads": 1}),
    Wrong(19, IfaValueError, "num_heads", {**cache(2, 5, 24), "num_key_value_heads": 3}),
    Wrong(19, IfaValueError, "num_heads", {**cache(2, 3, 5, 8), "num_key_value_heads": 3}, BNSD),
    Wrong(20, RuntimeError, "num_key_value_heads", cache(2, 5, 17)),
    Wrong(20, RuntimeError, "num_heads", {**cache(2, 5, 18), "num_key_value_heads": 0}),
    Wrong(21, RuntimeError, "num_heads", {"num_heads": 0}),
    Wrong(21, RuntimeError, "num_heads", {"num_heads": 0, "num_key_value_heads": 0}),
    Wrong(21, RuntimeError, "num_heads", {"num_heads": -4}),
    Wrong(21, RuntimeError, "num_heads", {"num_heads": 0}, BNSD),
    Wrong(21, RuntimeError, "num_heads", {"num_heads": -(2**63)}, BNSD),
    Wrong(22, RuntimeError, "attn_mask", {"attn_mask": tensor(3, 5, dtype=ms.bool_)}),
    Wrong(22, RuntimeError, "attn_mask", {"attn_mask": tensor(2, 6, dtype=ms.bool_)}),
    Wrong(22, RuntimeError, "attn_mask", {"attn_mask": tensor(2, 2, 5, dtype=ms.int8)}),
    Wrong(22, RuntimeError, "attn_mask", {"attn_mask": tensor(2, 4, 1, 5, dtype=ms.uint8)}),
    Wrong(22, RuntimeError, "attn_mask", {"attn_mask": tensor(10, dtype=ms.bool_)}),
    Wrong(22, RuntimeError, "attn_mask", {"attn_mask": tensor(dtype=ms.bool_)}),
    Wrong(23, RuntimeError, "key", {"key": BSH["key"] * 2, "value": BSH["value"] * 2}),
    Wrong(23, RuntimeError, "key", {"key": [], "value": []}),
    Wrong(23, RuntimeError, "value", {"value": tuple(BSH["value"] * 2)}),
    *(
        Wrong(24, RuntimeError, name, {name: tensor(1, dtype=ms.float32)})
        for name in ("dequant_scale1", "quant_scale1", "dequant_scale2")
    ),
    Wrong(25, RuntimeError, "query", {"num_heads": 8}, BNSD),
    Wrong(26, RuntimeError, "key", {"num_key_value_heads": 4}, BNSD),
    Wrong(26, RuntimeError, "key", {"num_key_value_heads": 0}, BNSD),
    Wrong(27, RuntimeError, "query", {"query": tensor(2, 2, 32)}),
    Wrong(27, RuntimeError, "query", {"query": tensor(2, 4, 2, 8)}, BNSD),
    Wrong(27, RuntimeError, "query", {"query": tensor(2, 32)}),
    Wrong(27, RuntimeError, "query", {"query": tensor(32)}),
    Wrong(27, RuntimeError, "query", {"query": tensor()}),
    Wrong(27, RuntimeError, "query", {"query": tensor(2, 1, 32)}, BNSD),
    Wrong(28, RuntimeError, "key", cache(5, 16)),
    Wrong(28, RuntimeError, "key", cache(2, 1, 1, 5, 16)),
    Wrong(28, RuntimeError, "key", cache()),
    Wrong(28, RuntimeError, "key", cache(2, 5, 16), BNSD),
    Wrong(29, RuntimeError, "value", {"value": [tensor(2, 6, 16)]}),
    Wrong(29, RuntimeError, "value", {"value": [tensor(2, 2, 5, 16)]}, BNSD),
    Wrong(30, RuntimeError, "pse_shift", {"pse_shift": tensor(3, 4, 1, 5)}),
    Wrong(30, RuntimeError, "pse_shift", {"pse_shift": tensor(1, 4, 1, 6)}),
    Wrong(31, RuntimeError, "pse_shift", {"pse_shift": tensor(1, 2, 1, 5)}),
    Wrong(31, RuntimeError, "pse_shift", {"pse_shift": tensor(1, 4, 2, 5)}),
    Wrong(31, RuntimeError, "pse_shift", {"pse_shift": tensor(4, 5)}),
    Wrong(31, RuntimeError, "pse_shift", {"pse_shift": tensor(1, 4, 1, 5, dtype=ms.bfloat16)}),
    Wrong(31, RuntimeError, "pse_shift", {"pse_shift": tensor(1, 4, 1, 5)}, FP32),
    Wrong(32, RuntimeError, "key", cache(3, 5, 16)),
    Wrong(32, RuntimeError, "key", cache(2, 5, 24)),
    Wrong(32, RuntimeError, "key", cache(2, 2, 5, 16), BNSD),
    Wrong(33, RuntimeError, "key", cache(2, 5, 16, dtype=ms.bfloat16)),
    Wrong(33, RuntimeError, "key", {"query": tensor(2, 1, 32, dtype=ms.bfloat16)}),
    Wrong(34, RuntimeError, "num_key_value_heads", {"num_key_value_heads": -2}),
    Wrong(34, RuntimeError, "num_heads", {
        "query": tensor(2, 1, 65), **cache(2, 5, 1), "num_heads": 65, "num_key_value_heads": 1}),
    Wrong(34, RuntimeError, "num_heads", {
        "query": tensor(2, 1, 257), **cache(2, 5, 257), "num_heads": 257, "num_key_value_heads": 0}),
    Wrong(34, RuntimeError, "num_key_value_heads", {
        "query": tensor(2, 1, 514), **cache(2, 5, 257), "num_heads": 514, "num_key_value_heads": 257}),
    Wrong(34, RuntimeError, "query", {
        "query": tensor(2, 1, 513), **cache(2, 5, 513), "num_heads": 1, "num_key_value_heads": 1}),
    Wrong(34, RuntimeError, "query", {
        "query": tensor(65537, 1, 1), **cache(65537, 1, 1), "num_heads": 1, "num_key_value_heads": 1}),
    Wrong(35, RuntimeError, "inner_precise", {"inner_precise": 2}),
    Wrong(35, RuntimeError, "inner_precise", {"inner_precise": -1}),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": [6]}),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": (1, -1)}),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": Tensor([6], ms.int32)}),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": Tensor([5, 2**40], ms.int64)}),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": Tensor([1, -(2**63)], ms.int64)}),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": [33]}, PAGED),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": Tensor([1, 33], ms.int64)}, PAGED),
    Wrong(36, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": Tensor([-1], ms.int32)}, PAGED_BNSD),
    Wrong(2, TypeError, "value", {"value": [tensor(2, 5, 16)]}, INT8),
    *(
        Wrong(37, RuntimeError, "antiquant_scale", {"antiquant_scale": scale}, INT8)
        for scale in (None, tensor(2, 16, dtype=ms.bfloat16))
    ),
    *(
        Wrong(37, RuntimeError, "antiquant_scale", {"antiquant_scale": tensor(*shape)}, base)
        for shape in ((), (1,), (3,), (16,), (1, 16), (2, 1), (2, 8), (2, 4, 8), (2, 8, 2), (1, 2, 2, 1, 8))
        for base in (INT8, INT8_BNSD)
    ),
    *(
        Wrong(37, RuntimeError, "antiquant_offset", {"antiquant_offset": offset}, INT8)
        for offset in (tensor(2), tensor(2, 2, 8), tensor(2, 8), tensor(2, 16, dtype=ms.bfloat16))
    ),
    *(
        Wrong(37, RuntimeError, name, {name: tensor(2, 16)}, base)
        for name in ("antiquant_scale", "antiquant_offset")
        for base in (BSH, BNSD, PAGED)
    ),
    Wrong(37, RuntimeError, "antiquant_offset", {"antiquant_scale": None, "antiquant_offset": tensor(2)}),
    Wrong(38, RuntimeError, "quant_offset2", {"quant_offset2": tensor(1, dtype=ms.float32)}),
    *(
        Wrong(38, RuntimeError, "quant_scale2", quant(*shape), base)
        for shape in ((), (2,), (4, 1), (1, 1), (4, 1, 10), (4, 1, 1, 10), (2, 4, 1, 8), (16,), (8, 4), (1, 1, 4, 1, 8))
        for base in (BSH, INT8_BNSD)
    ),
    *(
        Wrong(38, RuntimeError, "quant_offset2", {**quant(4, 8), "quant_offset2": tensor(*shape, dtype=ms.float32)})
        for shape in ((1,), (32,), (1, 4, 8), (8, 4))
    ),
    *(
        Wrong(39, RuntimeError, "quant_scale2", quant(*shape), base)
        for shape in ((32,), (4, 8), (1, 4, 1, 8))
        for base in (PAGED, PAGED_BNSD, INT8_PAGED)
    ),
    *(
        Wrong(39, RuntimeError, "block_size", {**cache(3, size, 16, dtype=ms.int8), "block_size": size}, INT8_PAGED)
        for size in (16, 48, 544)
    ),
    *(
        Wrong(39, RuntimeError, "block_size", {"block_size": size}, base)
        for size in (0, -16, 8, 24, 528)
        for base in (PAGED, PAGED_BNSD)
    ),
    Wrong(39, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": None}, PAGED),
    Wrong(39, RuntimeError, "actual_seq_lengths", {"actual_seq_lengths": None}, PAGED_BNSD),
    *(
        Wrong(39, RuntimeError, "block_table", table(*shape), PAGED)
        for shape in ((), (4,), (3, 2), (1, 2), (2, 0), (2, 1, 2), (2, 16385))
    ),
    Wrong(39, RuntimeError, "key", cache(3, 2, 16, 8), PAGED),
    Wrong(39, RuntimeError, "key", cache(3, 2, 32, 8), PAGED_BNSD),
    Wrong(39, RuntimeError, "key", cache(3, 32, 16), PAGED),
    Wrong(39, RuntimeError, "key", cache(3, 32, 16), PAGED_BNSD),
    Wrong(39, RuntimeError, "key", {
        "query": tensor(2, 1, 256 * 257), **cache(1, 16, 256 * 257), "num_heads": 256, "num_key_value_heads": 0},
        PAGED),
    Wrong(39, RuntimeError, "attn_mask", {"attn_mask": tensor(2, 31, dtype=ms.bool_)}, PAGED),
    Wrong(39, RuntimeError, "attn_mask", {"attn_mask": tensor(3, 32, dtype=ms.bool_)}, PAGED),
    Wrong(39, RuntimeError, "attn_mask", {"attn_mask": tensor(2, 2, 32, dtype=ms.bool_)}, PAGED_BNSD),
    Wrong(39, RuntimeError, "pse_shift", {"pse_shift": tensor(1, 4, 1, 31)}, PAGED),
    Wrong(31, RuntimeError, "pse_shift", {"pse_shift": tensor(2, 2, 1, 32)}, PAGED_BNSD),
    Wrong(26, RuntimeError, "key", cache(3, 4, 16, 8), PAGED_BNSD),
    Wrong(27, RuntimeError, "query", {"query": tensor(2, 2, 32)}, PAGED),
    Wrong(27, RuntimeError, "query", {"query": tensor(2, 4, 2, 8)}, PAGED_BNSD),
    Wrong(18, IfaValueError, "num_heads", {"num_heads": 3, "num_key_value_heads": 1}, PAGED),
    Wrong(19, IfaValueError, "num_heads", {**cache(3, 16, 24), "num_key_value_heads": 3}, PAGED),
    Wrong(16, IfaValueError, "actual_seq_lengths", {"actual_seq_lengths": [1, 2, 3]}, PAGED),
    Wrong(20, RuntimeError, "num_key_value_heads", cache(3, 16, 17), PAGED),
    Wrong(21, RuntimeError, "num_heads", {"num_heads": 0}, PAGED),
    *(
        Wrong(28, RuntimeError, "key", cache(*shape), base)
        for shape in ((), (16, 16), (3, 1, 2, 16, 8))
        for base in (PAGED, PAGED_BNSD)
    ),
    Wrong(29, RuntimeError, "value", {"value": [tensor(2, 16, 16)]}, PAGED),
    Wrong(29, RuntimeError, "value", {"value": [tensor(3, 16, 16)]}, PAGED_BNSD),
    Wrong(32, RuntimeError, "key", cache(3, 16, 24), PAGED),
    Wrong(32, RuntimeError, "key", cache(3, 2, 16, 16), PAGED_BNSD),
    Wrong(33, RuntimeError, "key", cache(3, 16, 16, dtype=ms.bfloat16), PAGED),
    Wrong(0, RuntimeError, "key", cache(0, 16, 16), PAGED),
    *(
        Wrong(0, RuntimeError, "kv_padding_size", {"kv_padding_size": tensor(*shape, dtype=ms.int64)})
        for shape in ((2,), (1, 1), (0,))
    ),
    Wrong(0, RuntimeError, "query", {"query": tensor(0, 1, 32)}),
    Wrong(0, RuntimeError, "query", {"query": tensor(2, 1, 0)}),
    Wrong(0, RuntimeError, "key", cache(2, 0, 16)),
    Wrong(0, RuntimeError, "key", cache(2, 0, 5, 8), BNSD),
]  # fmt: skip


def texts_of(given: Any) -> list[str]:
    """What may stand in a message for an argument: of a tensor or sequence, the property that is wrong."""
    if isinstance(given, Tensor):
        return [str(given.dtype), str(given.shape)]
    if isinstance(given, list | tuple):
        return [f"({len(given)},)", f"{len(given)} Tensors", *itertools.chain(*map(texts_of, given))]
    return [repr(given)]


def refusal(mode: str, arguments: dict[str, Any]) -> Exception:
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call("ifa_fusion", mode, arguments)
    return caught.value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrong", FAULTS, ids=str)
def test_fault_is_refused_with_the_class_of_the_document(wrong: Wrong, mode: str) -> None:
    error = refusal(mode, {**wrong.base, **wrong.change})
    assert type(error) is wrong.error, error
    given = {**wrong.base, **wrong.change}.get(wrong.name)
    form = rf"incre_flash_attention: '{wrong.name}' must be .+, but got (.+)\."
    if wrong.row == 36 and isinstance(given, Tensor):  # the values of a tensor are the kernel's to check
        given = given.tolist()
        form = rf"IncreFlashAttention: {wrong.name} must .+, but element \d+ is (.+)\."
    message = re.fullmatch(form, str(error).splitlines()[0])
    assert message, error
    assert any(text in message[1] for text in texts_of(given)), f"what was given is not in {message[1]!r}"


def reaches_the_kernel(wrong: Wrong) -> bool:
    """Whether MindSpore's own parser lets the call pass in PyNative mode: it refuses kinds of Python values."""
    given = wrong.change.get(wrong.name)
    elements = given if isinstance(given, list | tuple) else [given]
    of_right_kind = elements != [] and not any(isinstance(element, float | bool) for element in elements)
    return (
        wrong.row not in (6, 7, 8, 14, 15, 17, 23) and of_right_kind and (wrong.row != 12 or isinstance(given, Tensor))
    )


@pytest.mark.parametrize("wrong", list(filter(reaches_the_kernel, FAULTS)), ids=str)
def test_kernel_refuses_alike_under_the_operator_of_mindspore(wrong: Wrong) -> None:
    """In PyNative mode nobody checks before the kernel. To MindSpore an IfaValueError is a plain ValueError."""
    error = ValueError if wrong.error is IfaValueError else wrong.error
    with pytest.raises(error, match=rf"^IncreFlashAttention: .*\b{wrong.name}\b.*, but .+\.") as caught:
        call("mindspore", "pynative", {**wrong.base, **wrong.change})
    assert caught.type is error


# Without what the table leaves out, tensors without elements, of which MindSpore's infer step has its say at run time.
OPEN_FAULTS = [wrong for wrong in FAULTS if wrong.row != 0 and reaches_the_kernel(wrong)][::4]


@pytest.mark.parametrize("wrong", OPEN_FAULTS, ids=str)
def test_fault_is_refused_although_every_dimension_is_open(wrong: Wrong) -> None:
    """By the validation where types and ranks tell, else by the kernel, for which an IfaValueError is a ValueError."""
    message = rf"^(IncreFlashAttention|incre_flash_attention): .*\b{wrong.name}\b.*, but .+\."
    with pytest.raises(ValueError if wrong.error is IfaValueError else wrong.error, match=message) as caught:
        call("ifa_fusion", "dynamic", {**wrong.base, **wrong.change})
    assert caught.type in (wrong.error, ValueError)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("base", [BSH, BNSD, PAGED, PAGED_BNSD, FP32, INT8, INT8_BNSD, INT8_PAGED])
def test_valid_call_is_accepted(base: dict[str, Any], mode: str) -> None:
    assert call("ifa_fusion", mode, base).shape == base["query"].shape


@pytest.mark.parametrize("mode", MODES)
def test_type_fault_comes_before_shape_fault(mode: str) -> None:
    error = refusal(mode, {**BSH, "attn_mask": tensor(2, 5), "query": tensor(2, 2, 32)})
    assert type(error) is TypeError
    assert "attn_mask" in str(error)


@pytest.mark.parametrize("mode", MODES)
def test_operator_works_after_a_refused_call(mode: str) -> None:
    refusal(mode, {**BSH, "actual_seq_lengths": Tensor([9], ms.int64)})
    assert call("ifa_fusion", mode, BSH).shape == (2, 1, 32)


@pytest.mark.parametrize("mode", MODES)
def test_scale_and_offset_of_a_cache_may_differ_in_shape_but_not_in_rank(mode: str) -> None:
    arguments = {**INT8_BNSD, "antiquant_offset": tensor(2, 1, 2, 8)}
    assert call("ifa_fusion", mode, arguments).shape == (2, 4, 1, 8)


def test_largest_paged_cache() -> None:
    arguments = {name: operand_of(None) for name in Call.__slots__}
    arguments.update({name: operand_of(value) for name, value in {**ATTRIBUTES, **PAGED}.items()})

    def with_blocks(blocks: int) -> Call:
        caches = (TensorSpec(ms.float16, (blocks, 16, 16)),)
        return Call(**{**arguments, "key": caches, "value": caches})

    check_call(with_blocks(2**23 - 1))
    with pytest.raises(RuntimeError, match="'key' must be of at most 2147483647 elements"):
        check_call(with_blocks(2**23))


def test_value_error_of_the_document_is_caught_as_the_runtime_error_of_mindspore() -> None:
    with pytest.raises(RuntimeError):
        call("ifa_fusion", "pynative", {**BSH, "num_heads": 3})
