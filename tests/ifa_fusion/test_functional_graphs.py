"""The ways a graph holds the operator: jit functions, dynamic shapes, parameters, loops, MindIR, views."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, mutable, nn, ops
from operator_problem import DTYPES, MODES, OPERATORS, Problem, values_of

import ifa_fusion
from ifa_fusion.errors import IfaValueError


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


class Decoder(nn.Cell):
    """BNSD attention with lengths; 4 query heads on 2 KV heads of 8."""

    def __init__(self, operator=ifa_fusion.incre_flash_attention) -> None:
        super().__init__()
        self.operator = operator

    def construct(self, query, key, value, lengths):
        return self.operator(
            query,
            [key],
            [value],
            actual_seq_lengths=lengths,
            num_heads=4,
            input_layout="BNSD",
            scale_value=8**-0.5,
            num_key_value_heads=2,
        )


def decoder_problem(dtype: str, batch: int = 2, length: int = 9) -> Problem:
    return Problem(batch, 4, 2, length, 8, dtype=dtype, lengths="each")


def inputs_of(problem: Problem) -> tuple[Tensor, ...]:
    arguments = problem.arguments()
    return arguments["query"], arguments["key"][0], arguments["value"][0], arguments["actual_seq_lengths"]


def dynamic(*shape: int | None, dtype=ms.float32) -> Tensor:
    return Tensor(shape=shape, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_jit_function_called_from_pynative(dtype: str) -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    problem = decoder_problem(dtype)
    decoder = Decoder()

    @ms.jit
    def attend(query, key, value, lengths):
        return decoder(query, key, value, lengths)

    problem.assert_solved_by(values_of(attend(*inputs_of(problem))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_dynamic_batch_and_length(operator: str, dtype: str) -> None:
    element = DTYPES[dtype][1]
    decoder = Decoder(OPERATORS[operator])
    cache = dynamic(None, 2, None, 8, dtype=element)
    decoder.set_inputs(dynamic(None, 4, 1, 8, dtype=element), cache, cache, dynamic(None, dtype=ms.int64))
    for batch, length in [(2, 9), (1, 33), (3, 1)]:
        problem = decoder_problem(dtype, batch, length)
        problem.assert_solved_by(values_of(decoder(*inputs_of(problem))))


@pytest.mark.parametrize("paging", ["own", "own-4d", "shared"])
def test_dynamic_paged_cache(paging: str) -> None:
    class Paged(nn.Cell):
        def construct(self, query, key, value, lengths, table):
            return ifa_fusion.incre_flash_attention(
                query,
                [key],
                [value],
                actual_seq_lengths=lengths,
                block_table=table,
                num_heads=4,
                input_layout="BNSD",
                scale_value=8**-0.5,
                num_key_value_heads=2,
                block_size=16,
            )

    network = Paged()
    cache = dynamic(None, 2, None, 8) if paging == "own-4d" else dynamic(None, None, 16)
    network.set_inputs(
        *(dynamic(None, 4, 1, 8), cache, cache),
        *(dynamic(None, dtype=ms.int64), dynamic(None, None, dtype=ms.int32)),
    )
    for seed, (batch, length) in enumerate([(2, 9), (1, 33), (3, 16)]):
        problem = Problem(batch, 4, 2, length, 8, lengths="each", paging=paging, block_size=16, seed=seed)
        inputs = inputs_of(problem)
        table = problem.arguments()["block_table"]
        problem.assert_solved_by(values_of(network(*inputs, table)))
    with pytest.raises(RuntimeError, match="IncreFlashAttention: block_table must"):
        network(*inputs, Tensor(np.zeros((batch, 20000), np.int32))).asnumpy()


class Quantised(nn.Cell):
    """Int8 caches and an int8 output; without lengths."""

    def __init__(self, operator) -> None:
        super().__init__()
        self.operator = operator

    def construct(self, query, key, value, antiquant_scale, antiquant_offset, quant_scale, quant_offset):
        return self.operator(
            query,
            [key],
            [value],
            quant_scale2=quant_scale,
            quant_offset2=quant_offset,
            antiquant_scale=antiquant_scale,
            antiquant_offset=antiquant_offset,
            num_heads=4,
            input_layout="BNSD",
            scale_value=8**-0.5,
            num_key_value_heads=2,
        )


def quantised_inputs(problem: Problem) -> tuple[Tensor | None, ...]:
    arguments = problem.arguments()
    names = ("antiquant_scale", "antiquant_offset", "quant_scale2", "quant_offset2")
    return (arguments["query"], arguments["key"][0], arguments["value"][0], *map(arguments.get, names))


def quantised_problem(dtype: str, batch: int = 2, length: int = 9, quant: str = "1") -> Problem:
    offsets = {"antiquant_offset": True, "quant_offset": bool(quant)}
    return Problem(batch, 4, 2, length, 8, dtype=dtype, antiquant="2,n,d", quant=quant, **offsets)


@pytest.mark.parametrize("quant", ["", "1", "n,d"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_dynamic_quantised_cache_and_output(operator: str, dtype: str, quant: str) -> None:
    element = DTYPES[dtype][1]
    network = Quantised(OPERATORS[operator])
    cache = dynamic(None, 2, None, 8, dtype=ms.int8)
    antiquant = dynamic(None, None, None, dtype=element)
    parameter = dynamic(*[None] * (1 + quant.count(",")), dtype=ms.float32) if quant else None
    query = dynamic(None, 4, 1, 8, dtype=element)
    network.set_inputs(query, cache, cache, antiquant, antiquant, parameter, parameter)
    for batch, length in [(2, 9), (1, 33), (3, 1)]:
        problem = quantised_problem(dtype, batch, length, quant)
        problem.assert_solved_by(values_of(network(*quantised_inputs(problem))))


@pytest.mark.parametrize(
    ("index", "wrong", "name"),
    [
        (3, Tensor(np.zeros((2, 4, 8), np.float16)), "antiquant_scale"),
        (4, Tensor(np.zeros((2, 2, 7), np.float16)), "antiquant_offset"),
        (5, Tensor(np.zeros((4, 7), np.float32)), "quant_scale2"),
        (6, Tensor(np.zeros((1, 32), np.float32)), "quant_offset2"),
    ],
)
def test_dynamic_parameters_are_checked_when_they_are_known(index: int, wrong: Tensor, name: str) -> None:
    network = Quantised(ifa_fusion.incre_flash_attention)
    cache = dynamic(None, 2, None, 8, dtype=ms.int8)
    antiquant = dynamic(None, None, None, dtype=ms.float16)
    quant = dynamic(None, None, dtype=ms.float32)
    network.set_inputs(dynamic(None, 4, 1, 8, dtype=ms.float16), cache, cache, antiquant, antiquant, quant, quant)
    inputs = list(quantised_inputs(quantised_problem("fp16", quant="n,d")))
    inputs[index] = wrong
    with pytest.raises(RuntimeError, match=f"IncreFlashAttention: {name} must"):
        network(*inputs).asnumpy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exported_mindir_of_a_quantised_cache_runs(dtype: str, tmp_path: Path) -> None:
    problem = quantised_problem(dtype)
    inputs = quantised_inputs(problem)
    path = tmp_path / "quantised.mindir"
    ms.export(Quantised(ifa_fusion.incre_flash_attention), *inputs, file_name=str(path), file_format="MINDIR")
    problem.assert_solved_by(values_of(nn.GraphCell(ms.load(str(path)))(*inputs)))


def test_int8_output_is_int8_to_what_follows() -> None:
    class Following(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.attend = Quantised(ifa_fusion.incre_flash_attention)

        def construct(self, *inputs):
            return ops.cast(self.attend(*inputs), ms.float32) * 0.5

    for dtype in DTYPES:
        problem = quantised_problem(dtype)
        inputs = quantised_inputs(problem)
        output = Quantised(ifa_fusion.incre_flash_attention)(*inputs).asnumpy()
        np.testing.assert_array_equal(Following()(*inputs).asnumpy(), output * np.float32(0.5))


def test_dynamic_left_padding() -> None:
    class Padded(nn.Cell):
        def construct(self, query, key, value, lengths, padding):
            return ifa_fusion.incre_flash_attention(
                query,
                [key],
                [value],
                actual_seq_lengths=lengths,
                num_heads=4,
                input_layout="BNSD",
                scale_value=8**-0.5,
                num_key_value_heads=2,
                kv_padding_size=padding,
            )

    network = Padded()
    cache = dynamic(None, 2, None, 8)
    network.set_inputs(
        *(dynamic(None, 4, 1, 8), cache, cache),
        *(dynamic(None, dtype=ms.int64), dynamic(None, dtype=ms.int64)),
    )
    for batch, length, padding in [(2, 9, "some"), (1, 33, "beyond"), (3, 16, "zero")]:
        problem = Problem(batch, 4, 2, length, 8, lengths="each", padding=padding, seed=1)
        inputs = inputs_of(problem)
        problem.assert_solved_by(values_of(network(*inputs, problem.arguments()["kv_padding_size"])))
    with pytest.raises(RuntimeError, match="IncreFlashAttention: kv_padding_size must"):
        network(*inputs, Tensor([0, 0], ms.int64)).asnumpy()


def test_dynamic_rank() -> None:
    decoder = Decoder()
    anything = Tensor(shape=None, dtype=ms.float32)
    decoder.set_inputs(anything, anything, anything, dynamic(None, dtype=ms.int64))
    problem = decoder_problem("fp32")
    problem.assert_solved_by(values_of(decoder(*inputs_of(problem))))
    with pytest.raises(RuntimeError, match="query must have the shape"):
        query, key, value, lengths = inputs_of(problem)
        decoder(query.reshape(2, 1, 32), key, value, lengths).asnumpy()


def _without_head(query, key, value, lengths):
    return query, key[:, :1], value[:, :1], lengths


def _longer_than_cache(query, key, value, lengths):
    return query, key, value, Tensor([3, 10], ms.int64)


def _too_many(query, key, value, lengths):
    return query, key, value, Tensor([3, 4, 5], ms.int64)


@pytest.mark.parametrize(
    ("spoil", "error", "name"),
    [
        (_without_head, RuntimeError, "key"),
        (_longer_than_cache, RuntimeError, "actual_seq_lengths"),
        (_too_many, ValueError, "actual_seq_lengths"),
    ],
)
def test_dynamic_shapes_are_checked_when_they_are_known(spoil, error: type[Exception], name: str) -> None:
    decoder = Decoder()
    anything = dynamic(None, None, None, None)
    decoder.set_inputs(anything, anything, anything, dynamic(None, dtype=ms.int64))
    with pytest.raises(error, match=f"IncreFlashAttention: .*{name}"):
        decoder(*spoil(*inputs_of(decoder_problem("fp32")))).asnumpy()


def test_constants_are_checked_although_shapes_are_dynamic() -> None:
    class Wrong(nn.Cell):
        def construct(self, query, key):
            return ifa_fusion.incre_flash_attention(query, [key], [key], num_heads=4, num_key_value_heads=3)

    network = Wrong()
    network.set_inputs(dynamic(None, 1, None), dynamic(None, None, None))
    with pytest.raises(IfaValueError, match="num_key_value_heads"):
        network(Tensor(np.zeros((1, 1, 32), np.float32)), Tensor(np.zeros((1, 5, 24), np.float32)))


@pytest.mark.parametrize("operator", OPERATORS)
def test_number_of_heads_that_is_no_constant_is_refused(operator: str) -> None:
    class Network(nn.Cell):
        def construct(self, query, cache, heads):
            return OPERATORS[operator](query, [cache], [cache], num_heads=heads)

    with pytest.raises(RuntimeError, match="IncreFlashAttention: num_heads must be a constant"):
        Network()(*[Tensor(np.zeros((1, 1, 32), np.float16))] * 2, mutable(0)).asnumpy()


@pytest.mark.parametrize("sequence", [list, tuple])
def test_lengths_that_are_not_constants(sequence: type) -> None:
    problem = decoder_problem("fp32")
    query, key, value, _ = inputs_of(problem)
    decoder = Decoder()
    for values in ([3, 9], [0, 1]):
        problem.arrays["actual_seq_lengths"] = np.array(values)
        problem.assert_solved_by(values_of(decoder(query, key, value, mutable(sequence(values)))))
    with pytest.raises(RuntimeError, match="actual_seq_lengths"):
        decoder(query, key, value, mutable(sequence([3, 10]))).asnumpy()


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])  # MindSpore's CPU backend can't copy a bf16 parameter
def test_cache_and_query_held_as_parameters(dtype: str) -> None:
    class Stateful(nn.Cell):
        def __init__(self, query: Tensor, key: Tensor, value: Tensor) -> None:
            super().__init__()
            self.query = Parameter(query, name="query")
            self.key_cache = Parameter(key, name="key_cache")
            self.value_cache = Parameter(value, name="value_cache")
            self.attend = Decoder()

        def construct(self, lengths):
            ops.assign(self.key_cache, self.key_cache * 1.0)
            out = self.attend(self.query, self.key_cache, self.value_cache, lengths)
            return out + out - out

    problem = decoder_problem(dtype)
    query, key, value, lengths = inputs_of(problem)
    problem.assert_solved_by(values_of(Stateful(query, key, value)(lengths)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_inside_a_loop_over_tensors(dtype: str) -> None:
    class Loop(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.attend = Decoder()

        def construct(self, query, key, value, lengths, steps):
            out = query
            step = Tensor(0, ms.int32)
            while step < steps:
                out = self.attend(query, key, value, lengths)
                step = step + 1
            return out

    problem = decoder_problem(dtype)
    problem.assert_solved_by(values_of(Loop()(*inputs_of(problem), Tensor(2, ms.int32))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exported_mindir_runs(dtype: str, tmp_path: Path) -> None:
    problem = decoder_problem(dtype)
    inputs = inputs_of(problem)
    path = tmp_path / "decoder.mindir"
    ms.export(Decoder(), *inputs, file_name=str(path), file_format="MINDIR")
    problem.assert_solved_by(values_of(nn.GraphCell(ms.load(str(path)))(*inputs)))


@pytest.mark.parametrize("mode", MODES)
def test_views_that_are_not_contiguous(mode: str) -> None:
    ms.set_context(mode=MODES[mode])
    problem = decoder_problem("fp32")
    query, key, value, lengths = inputs_of(problem)

    def stored_as_bsnd(tensor: Tensor) -> Tensor:
        return Tensor(np.ascontiguousarray(tensor.asnumpy().transpose(0, 2, 1, 3)))

    class Network(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.attend = Decoder()

        def construct(self, query, key, value, lengths):
            query, key, value = (
                mint.transpose(query, 1, 2),
                mint.transpose(key, 1, 2),
                mint.transpose(value, 1, 2),
            )
            return self.attend(query, key, value, lengths)

    output = Network()(stored_as_bsnd(query), stored_as_bsnd(key), stored_as_bsnd(value), lengths)
    problem.assert_solved_by(values_of(output))


def test_sliced_mask_and_lengths_in_pynative() -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    problem = Problem(2, 4, 2, 9, 8, mask="bool-2", lengths="each", pse="each")
    arguments = problem.arguments()
    for name in ("attn_mask", "pse_shift"):
        doubled = mint.cat([arguments[name], arguments[name]], dim=-1)
        arguments[name] = mint.narrow(doubled, -1, 9, 9)
    lengths = problem.arrays["actual_seq_lengths"]
    arguments["actual_seq_lengths"] = mint.transpose(Tensor(np.stack([lengths, lengths + 100], 1)), 0, 1)[0]
    problem.assert_solved_by(values_of(ifa_fusion.incre_flash_attention(**arguments)))
