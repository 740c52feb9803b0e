"""Problems for the operator: seeded arguments, the call in either mode, how exact its result has to be."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
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
#: And "dynamic" of call(): a graph in which every dimension of every tensor is open.
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


class OpenCaller(nn.Cell):
    """Like Caller, but key and value come without their lists, and every dimension is open."""

    def __init__(self, caller: Caller, forms: Iterable[tuple[Any, int] | None]) -> None:
        """Take the data type and rank of each argument."""
        super().__init__()
        self.caller = caller
        self.set_inputs(*(form and Tensor(shape=[None] * form[1], dtype=form[0]) for form in forms))

    def construct(self, query, key, value, *others):
        return self.caller(query, [key], [value], *others)


@functools.cache
def open_caller(operator: str, attributes: tuple[tuple[str, Any], ...], forms: tuple[Any, ...]) -> OpenCaller:
    """Return the caller for all calls of a kind, so that it is compiled once."""
    return OpenCaller(Caller(OPERATORS[operator], dict(attributes)), forms)


def call(operator: str, mode: str, arguments: dict[str, Any]) -> np.ndarray:
    """Run one call to its end and return the output: int8 as it is, floating-point types as float64."""
    attributes = {name: value for name, value in arguments.items() if name in ATTRIBUTES}
    operands = [arguments.get(name) for name in ARGUMENTS]
    ms.set_context(mode=MODES.get(mode, ms.GRAPH_MODE))
    try:
        if mode == "pynative":
            output = OPERATORS[operator](**arguments)
        elif mode == "graph":
            output = Caller(OPERATORS[operator], attributes)(*operands)
        else:
            tensors = [tensor_of(operand) for operand in operands]
            forms = tuple(tensor if tensor is None else (tensor.dtype, tensor.ndim) for tensor in tensors)
            output = open_caller(operator, tuple(sorted(attributes.items())), forms)(*tensors)
        return values_of(output)
    except Exception:
        open_caller.cache_clear()  # MindSpore does not run a graph again that has failed once
        raise
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


def tensor_of(operand: Any) -> Tensor | None:
    """Return the only tensor of a list or tuple, or lengths as a tensor; any other operand as it is."""
    if not isinstance(operand, list | tuple):
        return operand
    return operand[0] if isinstance(operand[0], Tensor) else Tensor(operand, ms.int64)


def values_of(output: Tensor) -> np.ndarray:
    if output.dtype == ms.int8:
        return output.asnumpy()
    return output.astype(ms.float32).asnumpy().astype(np.float64)


#: Data type and rank.
MASKS = {
    f"{name}-{rank}": (dtype, rank)
    for name, dtype in {"bool": ms.bool_, "int8": ms.int8, "uint8": ms.uint8}.items()
    for rank in (2, 3, 4)
}
#: Int64 of length B unless the name says otherwise: the first is 0, all are S, another type, length 1 ("one").
LENGTHS = ("each", "zeros", "full", "int32", "list", "tuple", "one", "int32-one", "list-one", "tuple-one")


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
    lengths: str = ""  # "", or one of LENGTHS; a paged cache always has lengths
    mask: str = ""  # "", one of MASKS, or "all" (every position of the first sequence)
    pse: str = ""  # "", "one", "each"
    paging: str = ""  # "", "own" (no block is used twice), "own-4d" (blocks in layout BNSD), "shared"
    block_size: int = 0
    padding: str = ""  # "", "zero", "some", "negative", "beyond" (does not fit the longest sequence), "huge"
    antiquant: str = ""  # makes the cache int8; the shape of its scale: "2", "2,n,1,d", "2,1,n,d", "2,n,d", "2,h"
    antiquant_offset: bool = False
    quant: str = ""  # makes the output int8; the shape of its scale, for example "1" or "1,n,1,d"
    quant_offset: bool = False
    scale: float | None = None  # None: D ** -0.5
    inner_precise: int = 1
    zero_kv_heads: bool = False  # leaves their number to num_heads
    seed: int = 0
    magnitude: float = 1.0
    arrays: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.arrays.update(self._draw())

    def __str__(self) -> str:
        shape = (self.batch, self.heads, self.kv_heads, self.length, self.head_size)
        names = ("lengths", "mask", "pse", "paging", "block_size", "padding")
        names = (*names, "antiquant", "antiquant_offset", "quant", "quant_offset", "scale", "zero_kv_heads")
        features = (f"{name}={getattr(self, name)}" for name in names if getattr(self, name))
        return "-".join(["x".join(map(str, shape)), self.dtype, self.layout, *features])

    def _draw(self) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, self.batch, self.heads, self.length, self.head_size])
        numpy_type = DTYPES[self.dtype][0]

        def normal(*shape: int, shrunk: float = 1.0) -> np.ndarray:
            return (rng.standard_normal(shape) * self.magnitude / shrunk).astype(numpy_type)

        b, n, h, s, d = self.batch, self.heads, self.kv_heads, self.length, self.head_size
        bsh = self.layout == "BSH"
        cache_bsh = self.paging != "own-4d" if self.paging else bsh
        outer, positions = (self.cache_blocks, self.block_size) if self.paging else (b, s)
        cache_shape = (outer, positions, h * d) if cache_bsh else (outer, h, positions, d)
        query_shape = (b, 1, n * d) if bsh else (b, n, 1, d)
        # With a larger scale than usual a smaller query, or scores in fp32 would be too coarse to tell an error by.
        arrays: dict[str, Any] = {"query": normal(*query_shape, shrunk=max(1.0, abs(self.scale_value) * d**0.5))}
        for name in ("key", "value"):
            int8 = self.antiquant != ""
            arrays[name] = rng.integers(-128, 128, cache_shape, np.int8) if int8 else normal(*cache_shape)
        if self.lengths or self.paging:
            count = 1 if self.lengths.endswith("one") else b
            arrays["actual_seq_lengths"] = rng.integers(0, s, count, endpoint=True)
            if self.lengths == "zeros":
                arrays["actual_seq_lengths"][0] = 0
            if self.lengths == "full":
                arrays["actual_seq_lengths"][:] = s
        # Rows of a paged cache may be longer than what the table has room for.
        row = self.table_blocks * self.block_size + self.seed % 2 * 5 if self.paging else s
        if self.mask:
            mask = rng.random((b, row)) < 0.4
            if self.mask == "all":
                mask[0] = True
            arrays["attn_mask"] = mask.reshape(b, *[1] * (self.mask_form[1] - 2), row)
        if self.pse:
            arrays["pse_shift"] = normal(1 if self.pse == "one" else b, n, 1, row)
        if self.paging:
            arrays["block_table"] = self._draw_table(rng, arrays)
        if self.padding:
            arrays["kv_padding_size"] = self._draw_padding(rng, arrays)
        return {**arrays, **self._draw_quantisation(rng)}

    def _draw_quantisation(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw scales that bring a cache of int8 to the magnitude, and an output to some 40 of it."""
        numpy_type = DTYPES[self.dtype][0]
        arrays = {}

        def normal(shape: str, heads: int, mean: float, deviation: float) -> np.ndarray:
            sizes = {"n": heads, "d": self.head_size, "h": heads * self.head_size}
            numbers = rng.standard_normal([sizes.get(size) or int(size) for size in shape.split(",")])
            return mean + deviation * numbers

        if self.antiquant:
            scale = normal(self.antiquant, self.kv_heads, 0.0135, 0.004) * self.magnitude
            arrays["antiquant_scale"] = scale.astype(numpy_type)
        if self.antiquant_offset:
            arrays["antiquant_offset"] = normal(self.antiquant, self.kv_heads, 0, 8).astype(numpy_type)
        if self.quant:
            arrays["quant_scale2"] = normal(self.quant, self.heads, 40, 40).astype(np.float32)
        if self.quant_offset:
            arrays["quant_offset2"] = normal(self.quant, self.heads, 3.5, 20).astype(np.float32)
        return arrays

    @property
    def _spoilt(self) -> float:
        """What lies where no sequence has a row: NaN, in a cache of int8 its largest number."""
        return 127 if self.antiquant else np.nan

    def _draw_padding(self, rng: np.random.Generator, arrays: dict[str, Any]) -> int:
        """Draw the padding; where it is used, rows that no sequence holds are spoilt."""
        lengths = np.broadcast_to(arrays.get("actual_seq_lengths", 0), self.batch)
        room = self.length - int(lengths.max())
        padding = {
            "zero": 0,
            "some": int(rng.integers(0, room, endpoint=True)),
            "negative": -3,
            "beyond": room + 1,
            "huge": 2**63 - 1,
        }[self.padding]
        if "actual_seq_lengths" in arrays and not self.paging:
            end = self.length - max(padding, 0)
            for name, (sequence, length) in itertools.product(("key", "value"), enumerate(lengths)):
                rows = arrays[name][sequence].swapaxes(0, -2)  # positions first
                rows[max(end, 0) :] = self._spoilt
                rows[: max(end - length, 0)] = self._spoilt
        return padding

    @property
    def table_blocks(self) -> int:
        """Columns of the block table: as many as the length needs, and sometimes one more."""
        return -(-self.length // self.block_size) + self.seed % 2

    @property
    def cache_blocks(self) -> int:
        every = self.batch * self.table_blocks
        return 1 + every // 3 if self.paging == "shared" else every + 1

    def _draw_table(self, rng: np.random.Generator, arrays: dict[str, Any]) -> np.ndarray:
        """Draw a table with -1 where nothing is needed; rows that no sequence holds are spoilt."""
        shape = (self.batch, self.table_blocks)
        shared = self.paging == "shared"
        table = rng.integers(0, self.cache_blocks, shape) if shared else rng.permutation(self.cache_blocks)
        table = table[: self.batch * self.table_blocks].reshape(shape).astype(np.int32)
        lengths = np.broadcast_to(arrays["actual_seq_lengths"], self.batch)
        used = np.zeros((self.cache_blocks, self.block_size), bool)
        for sequence, length in enumerate(lengths):
            for position in range(length):
                used[table[sequence, position // self.block_size], position % self.block_size] = True
            table[sequence, -(-length // self.block_size) :] = -1
        for name in ("key", "value"):
            by_block = arrays[name].transpose(0, 2, 1, 3) if self.paging == "own-4d" else arrays[name]
            by_block[~used] = self._spoilt
        return table

    @property
    def mask_form(self) -> tuple[Any, int]:
        """Data type and rank of the mask."""
        return MASKS["bool-2" if self.mask == "all" else self.mask]

    @property
    def scale_value(self) -> float:
        return self.head_size**-0.5 if self.scale is None else self.scale

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.heads,
            "num_key_value_heads": 0 if self.zero_kv_heads else self.kv_heads,
            "input_layout": self.layout,
            "scale_value": self.scale_value,
            "block_size": self.block_size,
        }

    def arguments(self) -> dict[str, Any]:
        """The arguments of the call, for either operator."""
        dtype = DTYPES[self.dtype][1]

        def tensor(name: str) -> Tensor:
            array = self.arrays[name]
            if array.dtype == np.int8:
                return Tensor(array)
            return Tensor(array.astype(np.float32)).astype(dtype)

        arguments = {"query": tensor("query"), "key": [tensor("key")], "value": (tensor("value"),)}
        arguments.update(self.attributes, inner_precise=self.inner_precise)
        for name in ("pse_shift", "antiquant_scale", "antiquant_offset"):
            if name in self.arrays:
                arguments[name] = tensor(name)
        for name in ("quant_scale2", "quant_offset2"):
            if name in self.arrays:
                arguments[name] = Tensor(self.arrays[name])
        if "attn_mask" in self.arrays:
            arguments["attn_mask"] = Tensor(self.arrays["attn_mask"]).astype(self.mask_form[0])
        if "actual_seq_lengths" in self.arrays:
            lengths, form = self.arrays["actual_seq_lengths"], self.lengths.split("-")[0]
            if form in ("list", "tuple"):
                arguments["actual_seq_lengths"] = {"list": list, "tuple": tuple}[form](map(int, lengths))
            else:
                arguments["actual_seq_lengths"] = Tensor(lengths, ms.int32 if form == "int32" else ms.int64)
        if "block_table" in self.arrays:
            arguments["block_table"] = Tensor(self.arrays["block_table"])
        if "kv_padding_size" in self.arrays:
            padding = self.arrays["kv_padding_size"]
            arguments["kv_padding_size"] = Tensor([padding] if self.seed % 2 else padding, ms.int64)
        return arguments

    def expected(self) -> np.ndarray:
        """The reference; of an int8 output before it is rounded."""
        arrays = {name: array for name, array in self.arrays.items() if not name.startswith("quant_")}
        output = reference.incre_flash_attention(**arrays, **self.attributes)
        channels = output.shape[1:]
        scale, offset = self.arrays.get("quant_scale2", np.ones(1)), self.arrays.get("quant_offset2", np.zeros(1))
        if self.quant not in ("", "1"):
            scale = scale.reshape(channels)
            offset = offset.reshape(channels) if self.quant_offset else offset
        return output * scale.astype(np.float64) + offset.astype(np.float64)

    @property
    def largest_value(self) -> float:
        """No value of the cache, dequantised, is larger."""
        if not self.antiquant:
            return float(np.nanmax(np.abs(self.arrays["value"].astype(np.float64)), initial=0))
        offset = np.abs(self.arrays.get("antiquant_offset", np.zeros(2)).astype(np.float64)[1]).max()
        return float((128 + offset) * np.abs(self.arrays["antiquant_scale"].astype(np.float64)[1]).max())

    def assert_solved_by(self, output: np.ndarray) -> None:
        """Accept what computing in fp32 and rounding once can give.

        fp32: the relative RMS error over the whole output is at most 5e-6.

        fp16, bf16: each element is the reference, changed by the error of the fp32 computation and then
        rounded once: half a unit in the last place at most. The former is bounded by 1e-5 of the largest
        value: an output is a mean of values, and its weights are off by as much as the scores are, which are
            sums of D <= 512 products rounded
        to 24 bits.

        int8: what rounds to it lies within that same error of the reference.
        """
        expected = self.expected()
        assert output.shape == expected.shape
        slack = 1e-5 * self.largest_value
        assert (output.dtype == np.int8) == bool(self.quant)
        if self.quant:
            slack *= np.abs(self.arrays["quant_scale2"]).max()
            lowest, highest = (np.clip(np.rint(expected + error), -128, 127) for error in (-slack, slack))
            assert np.all((lowest <= output) & (output <= highest))
            return
        if self.dtype == "fp32":
            assert relative_rms(output, expected) <= 5e-6
            return
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
