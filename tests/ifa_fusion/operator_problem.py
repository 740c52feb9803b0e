"""Problems for the operator: seeded arguments, the call in either mode, how exact its result has to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mindspore as ms
import ml_dtypes
import numpy as np
from mindspore import Tensor, nn, ops

import ifa_fusion
from ifa_fusion import reference

#: name: (type of NumPy, type of MindSpore, bits of the significand, least exponent of a unit in the last
#: place)
DTYPES = {
    "fp16": (np.float16, ms.float16, 11, -24),
    "bf16": (ml_dtypes.bfloat16, ms.bfloat16, 8, -133),
    "fp32": (np.float32, ms.float32, 24, -149),
}
OPERATORS = {"ifa_fusion": ifa_fusion.incre_flash_attention, "mindspore": ops.incre_flash_attention}
MODES = {"pynative": ms.PYNATIVE_MODE, "graph": ms.GRAPH_MODE}

#: Of the primitive, in its order.
ARGUMENTS = (
    *("query", "key", "value", "attn_mask", "actual_seq_lengths", "pse_shift"),
    *("dequant_scale1", "quant_scale1", "dequant_scale2", "quant_scale2", "quant_offset2"),
    *("antiquant_scale", "antiquant_offset", "block_table", "kv_padding_size"),
)
ATTRIBUTES: dict[str, Any] = {
    "num_heads": 1,
    "input_layout": "BSH",
    "scale_value": 1.0,
    "num_key_value_heads": 0,
    "block_size": 0,
    "inner_precise": 1,
}


class Caller(nn.Cell):
    """The operator alone in a Cell; attributes are constants, everything else comes from outside."""

    def __init__(self, operator: Callable[..., Tensor], attributes: dict[str, Any]) -> None:
        super().__init__()
        self.operator = operator
        values = {**ATTRIBUTES, **attributes}
        self.num_heads = values["num_heads"]
        self.input_layout = values["input_layout"]
        self.scale_value = values["scale_value"]
        self.num_key_value_heads = values["num_key_value_heads"]
        self.block_size = values["block_size"]
        self.inner_precise = values["inner_precise"]

    def construct(self, query, key, value, mask, lengths, pse, d1, q1, d2, q2, o2, a_scale, a_offset, table, padding):
        return self.operator(
            query,
            key,
            value,
            mask,
            lengths,
            pse,
            d1,
            q1,
            d2,
            q2,
            o2,
            a_scale,
            a_offset,
            table,
            self.num_heads,
            self.input_layout,
            self.scale_value,
            self.num_key_value_heads,
            self.block_size,
            self.inner_precise,
            padding,
        )


def call(operator: str, mode: str, arguments: dict[str, Any]) -> np.ndarray:
    """Run one call to its end and return the output as float64."""
    function = OPERATORS[operator]
    ms.set_context(mode=MODES[mode])
    try:
        if mode == "pynative":
            output = function(**arguments)
        else:
            attributes = {name: value for name, value in arguments.items() if name in ATTRIBUTES}
            output = Caller(function, attributes)(*(arguments.get(name) for name in ARGUMENTS))
        return output.astype(ms.float32).asnumpy().astype(np.float64)
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


@dataclass(frozen=True)
class Problem:
    """A valid call, without its numbers."""

    batch: int
    heads: int
    kv_heads: int
    length: int
    head_size: int
    dtype: str = "fp32"
    layout: str = "BNSD"
    lengths: str = ""  # "", "one", "each", "zeros", "list", "int32"
    mask: str = ""  # "", "bool2", "int8-3", "uint8-4", "all" (every position of the first sequence)
    pse: str = ""  # "", "one", "each"
    seed: int = 0
    magnitude: float = 1.0
    arrays: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.arrays.update(self._draw())

    def __str__(self) -> str:
        shape = (self.batch, self.heads, self.kv_heads, self.length, self.head_size)
        features = (f"{name}={getattr(self, name)}" for name in ("lengths", "mask", "pse") if getattr(self, name))
        return "-".join(["x".join(map(str, shape)), self.dtype, self.layout, *features])

    def _draw(self) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, self.batch, self.heads, self.length, self.head_size])
        numpy_type = DTYPES[self.dtype][0]

        def normal(*shape: int) -> np.ndarray:
            return (rng.standard_normal(shape) * self.magnitude).astype(numpy_type)

        b, n, h, s, d = self.batch, self.heads, self.kv_heads, self.length, self.head_size
        bsh = self.layout == "BSH"
        arrays: dict[str, Any] = {
            "query": normal(b, 1, n * d) if bsh else normal(b, n, 1, d),
            "key": normal(b, s, h * d) if bsh else normal(b, h, s, d),
            "value": normal(b, s, h * d) if bsh else normal(b, h, s, d),
        }
        if self.lengths:
            count = 1 if self.lengths == "one" else b
            arrays["actual_seq_lengths"] = rng.integers(0, s, count, endpoint=True)
            if self.lengths == "zeros":
                arrays["actual_seq_lengths"][0] = 0
        if self.mask:
            mask = rng.random((b, s)) < 0.4
            if self.mask == "all":
                mask[0] = True
            rank = {"bool2": 2, "int8-3": 3, "uint8-4": 4, "all": 2}[self.mask]
            arrays["attn_mask"] = mask.reshape(b, *[1] * (rank - 2), s)
        if self.pse:
            arrays["pse_shift"] = normal(1 if self.pse == "one" else b, n, 1, s)
        return arrays

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "input_layout": self.layout,
            "scale_value": self.head_size**-0.5,
        }

    def arguments(self) -> dict[str, Any]:
        """The arguments of the call, for either operator."""
        dtype = DTYPES[self.dtype][1]

        def tensor(name: str) -> Tensor:
            return Tensor(self.arrays[name].astype(np.float32)).astype(dtype)

        arguments = {"query": tensor("query"), "key": [tensor("key")], "value": (tensor("value"),)}
        arguments.update(self.attributes)
        if "pse_shift" in self.arrays:
            arguments["pse_shift"] = tensor("pse_shift")
        if "attn_mask" in self.arrays:
            mask_type = {"int8-3": ms.int8, "uint8-4": ms.uint8}.get(self.mask, ms.bool_)
            arguments["attn_mask"] = Tensor(self.arrays["attn_mask"]).astype(mask_type)
        if "actual_seq_lengths" in self.arrays:
            lengths = self.arrays["actual_seq_lengths"]
            if self.lengths == "list":
                arguments["actual_seq_lengths"] = [int(length) for length in lengths]
            else:
                arguments["actual_seq_lengths"] = Tensor(lengths, ms.int32 if self.lengths == "int32" else ms.int64)
        return arguments

    def expected(self) -> np.ndarray:
        return reference.incre_flash_attention(**self.arrays, **self.attributes)

    def assert_solved_by(self, output: np.ndarray) -> None:
        """Accept what computing in fp32 and rounding once can give.

        fp32: the relative RMS error over the whole output is at most 5e-6.

        fp16, bf16: each element is the reference, changed by the error of the fp32 computation and then
        rounded once: half a unit in the last place at most. The former is bounded by 1e-5 of the largest
        value: an output is a mean of values, and its weights are off by as much as the scores are, which are
            sums of D <= 512 products rounded
        to 24 bits.
        """
        expected = self.expected()
        assert output.shape == expected.shape
        if self.dtype == "fp32":
            assert relative_rms(output, expected) <= 5e-6
            return
        slack = 1e-5 * np.abs(self.arrays["value"].astype(np.float64)).max()
        # The unit at the greater of both: rounding may have crossed a power of two.
        allowed = half_unit(np.maximum(np.abs(expected), np.abs(output)), self.dtype) + slack
        excess = np.abs(output - expected) - allowed
        worst = np.unravel_index(excess.argmax(), excess.shape)
        assert excess[worst] <= 0, f"{output[worst]} at {worst}, expected {expected[worst]} +- {allowed[worst]}"


def relative_rms(output: np.ndarray, expected: np.ndarray) -> float:
    norm = np.sqrt(np.mean(expected**2))
    error = np.sqrt(np.mean((output - expected) ** 2))
    return float(error / norm) if norm > 0 else float(error)


def half_unit(magnitude: np.ndarray, dtype: str) -> np.ndarray:
    """Half the distance of neighbouring numbers of a type, at some magnitude."""
    _, _, significand_bits, least_exponent = DTYPES[dtype]
    exponent = np.frexp(magnitude)[1] - significand_bits
    return 0.5 * np.ldexp(1.0, np.maximum(exponent, least_exponent))
