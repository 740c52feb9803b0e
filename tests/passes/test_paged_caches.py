"""Caches gathered in blocks: the operator gathers them itself, or is given what was gathered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mindspore as ms
import networks as net
import numpy as np
import paged_networks as paged
import pytest
import quantised_networks as quant
from judging import Operands, compare, draw, draw_bias, draw_hidden, fuse, tensors
from mindspore import Tensor, nn
from paged_networks import Paged

pytestmark = pytest.mark.grid


@dataclass(frozen=True)
class Blocks:
    """Caches (blocks, block_size, kvN, D) and the table (B, blocks of a sequence)."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    table: np.ndarray

    @property
    def inputs(self) -> tuple[np.ndarray, ...]:
        return self.query[:, :, None], self.key, self.value, self.table

    @property
    def heads_first(self) -> tuple[np.ndarray, ...]:
        """With caches (blocks, kvN, block_size, D)."""
        return self.query[:, :, None], self.key.transpose(0, 2, 1, 3), self.value.transpose(0, 2, 1, 3), self.table

    @property
    def gathered(self) -> Operands:
        """What the table gives, (B, kvN, S, D)."""
        batch, heads, size = len(self.table), *self.key.shape[2:]
        key, value = (
            x[self.table].reshape(batch, -1, heads, size).transpose(0, 2, 1, 3) for x in (self.key, self.value)
        )
        return Operands(self.query, key, value)


def draw_blocks(
    blocks: int = 3,
    block_size: int = 16,
    count: int = 10,
    batch: int = 2,
    table: Any = np.int32,
    kind: Any = np.float64,
) -> Blocks:
    """The first block of the sequences is the same one."""
    drawn = draw(batch=max(batch, count), length=block_size)
    key, value = (x[:count].transpose(0, 2, 1, 3) for x in (drawn.key, drawn.value))
    rng = np.random.default_rng([7, batch, blocks])
    if kind == np.int8:
        key, value = rng.integers(-128, 128, (2, *key.shape)).astype(np.int8)
    numbers = np.stack([rng.integers(0, count, blocks) for _ in range(batch)])
    numbers[:, 0] = count - 1
    return Blocks(drawn.query[:batch], key, value, numbers.astype(table))


def assert_paged(outcome: Any, expected: np.ndarray, block_size: int = 16) -> None:
    """Fused, and nothing is gathered or moved in front of the operator."""
    outcome.assert_fused()
    outcome.assert_gives(expected)
    assert f"paged {block_size}" in outcome.features
    assert not outcome.other_operators & {"Gather", "IndexSelect", "Transpose", "TransposeView"}, str(outcome.operators)


def assert_gathered(outcome: Any, expected: np.ndarray) -> None:
    """Fused, and the operator is given what was gathered."""
    outcome.assert_fused()
    outcome.assert_gives(expected)
    assert not any(feature.startswith("paged") for feature in outcome.features)


GATHERS = [
    paged.gather,
    paged.gather_method,
    paged.gather_operator,
    paged.gather_flat,
    paged.index,
    paged.index_flat,
    paged.index_select,
    paged.index_select_method,
    paged.gather_nd,
]


@pytest.mark.parametrize("table", [np.int32, np.int64])
@pytest.mark.parametrize("gather", GATHERS)
def test_spellings_of_the_gather(gather, table):
    blocks = draw_blocks(table=table)
    outcome = compare(Paged(gather), *tensors(*blocks.inputs))
    assert_paged(outcome, blocks.gathered.attend())
    assert outcome.features[1] == "BSH float32"


def test_index_select_of_mint():
    """A CPU can't run it unfused."""
    blocks = draw_blocks()
    outcome = fuse(Paged(paged.index_select_mint), *tensors(*blocks.inputs))
    assert_paged(outcome, blocks.gathered.attend())


@pytest.mark.parametrize("gather", [paged.gather, paged.index_flat])
def test_blocks_with_heads_before_positions(gather):
    blocks = draw_blocks()
    outcome = compare(Paged(gather, paged.heads_first), *tensors(*blocks.heads_first))
    assert_paged(outcome, blocks.gathered.attend())
    assert outcome.features[1] == "BNSD float32"


@pytest.mark.parametrize("shape", [(10, 16, 16), (10, 256)], ids=["rows", "flat"])
def test_blocks_of_other_shapes(shape):
    blocks = draw_blocks()
    query, key, value, table = blocks.inputs
    inputs = tensors(query, key.reshape(shape), value.reshape(shape), table)
    assert_paged(compare(Paged(), *inputs), blocks.gathered.attend())


def test_blocks_made_flat_before_the_gather():
    blocks = draw_blocks()
    outcome = compare(Paged(paged.gather_flat_rows), *tensors(*blocks.inputs))
    assert_paged(outcome, blocks.gathered.attend())


def test_half_precision():
    blocks = draw_blocks()
    outcome = compare(Paged(), *tensors(*blocks.inputs, dtype=ms.float16))
    assert_paged(outcome, blocks.gathered.attend())


@pytest.mark.parametrize("adjust", [net.AdditiveSelect, net.Select])
def test_mask(adjust):
    blocks = draw_blocks()
    hidden = draw_hidden(2, 1, 1, 48)
    outcome = compare(Paged(adjust=adjust(-1e4)), *tensors(*blocks.inputs, hidden))
    assert_paged(outcome, blocks.gathered.attend(hidden=hidden[:, 0]))


def test_bias():
    blocks = draw_blocks()
    bias = draw_bias(1, 6, 1, 48)
    outcome = compare(Paged(adjust=net.add), *tensors(*blocks.inputs, bias))
    assert_paged(outcome, blocks.gathered.attend(bias=bias[:, :, 0]))


@pytest.mark.parametrize("table", [np.int32, np.int64])
def test_numbers_below_0_count_from_the_end(table):
    blocks = draw_blocks(table=table)
    blocks.table[0] -= 10
    assert_paged(compare(Paged(), *tensors(*blocks.inputs)), blocks.gathered.attend())


@pytest.mark.parametrize("number", [10, -11, 2**31 - 1, 2**31 + 1])
def test_numbers_of_no_block(number):
    """An error, fused and unfused."""
    blocks = draw_blocks(table=np.int64 if number >= 2**31 else np.int32)
    blocks.table[1, 2] = number
    for run in (lambda *x: Paged()(*x).asnumpy(), lambda *x: fuse(Paged(), *x)):
        with pytest.raises(RuntimeError):
            run(*tensors(*blocks.inputs))


def test_numbers_beyond_int32():
    """MindSpore's Gather cuts them off on a CPU."""
    blocks = draw_blocks(table=np.int64)
    blocks.table[0] += 2**32
    outcome = compare(Paged(), *tensors(*blocks.inputs))
    blocks.table[0] -= 2**32
    assert_paged(outcome, blocks.gathered.attend())


def set_inputs(attention: nn.Cell, table: tuple[int | None, ...], *more: Tensor) -> None:
    """Caches of 10 blocks; sizes that are None are known only when the graph runs."""
    query, cache = (Tensor(shape=x, dtype=ms.float32) for x in ((table[0], 6, 1, 8), (10, 16, 2, 8)))
    attention.set_inputs(query, cache, cache, Tensor(shape=table, dtype=ms.int32), *more)


def test_number_of_sequences_that_only_the_run_knows():
    attention = Paged(heads=paged.positions_first_of_any)
    set_inputs(attention, (None, 3))
    blocks = draw_blocks()
    assert_paged(compare(attention, *tensors(*blocks.inputs)), blocks.gathered.attend())
    blocks = draw_blocks(batch=3)
    compare(attention, *tensors(*blocks.inputs)).assert_gives(blocks.gathered.attend())


def test_number_of_blocks_that_only_the_run_knows():
    attention = Paged(adjust=net.AdditiveSelect(-1e4))
    set_inputs(attention, (2, None), Tensor(shape=(2, 1, 1, None), dtype=ms.bool_))
    outcomes = []
    for count in (3, 1, 5):
        blocks = draw_blocks(blocks=count)
        hidden = draw_hidden(2, 1, 1, 16 * count)
        outcomes.append(compare(attention, *tensors(*blocks.inputs, hidden)))
        outcomes[-1].assert_equal()
        outcomes[-1].assert_gives(blocks.gathered.attend(hidden=hidden[:, 0]))
    outcomes[0].assert_fused()
    assert outcomes[0].features[2:5] == ("length ?", "head size 8", "paged 16")


@pytest.mark.parametrize("block_size", [16, 32])
def test_int8_blocks(block_size):
    """The operator takes int8 blocks of multiples of 32."""
    blocks = draw_blocks(block_size=block_size, kind=np.int8)
    scales = np.random.default_rng(8).uniform(0.002, 0.03, (2, 2, 1, 8))
    key, value = (quant.Shifted(3.0, quant.as_parameter(x)) for x in scales)
    outcome = compare(Paged(key=key, value=value), *tensors(*blocks.inputs))
    query, keys, values = blocks.gathered.query, blocks.gathered.key + 3.0, blocks.gathered.value + 3.0
    expected = Operands(query, keys * scales[0], values * scales[1]).attend()
    if block_size == 32:
        assert_paged(outcome, expected, 32)
    else:
        assert_gathered(outcome, expected)
    assert "int8 cache" in outcome.features


@pytest.mark.parametrize("scale", [20.0, np.linspace(10, 30, 8)], ids=["one", "per channel"])
def test_int8_output(scale):
    """With blocks the operator takes one scale; several stay behind it."""
    blocks = draw_blocks()
    parameter = scale if isinstance(scale, float) else quant.as_parameter(scale)
    outcome = compare(Paged(finish=quant.Quantised(parameter)), *tensors(*blocks.inputs))
    assert [site.reason for site in outcome.report.sites] == ["fused"]
    expected = np.clip(np.rint(blocks.gathered.attend() * scale), -128, 127)
    assert np.abs(outcome.fused[0].reshape(expected.shape) - expected).max() <= 1
    assert "paged 16" in outcome.features
    assert ("int8 output" in outcome.features) == isinstance(scale, float)


def test_caches_that_are_written_before_and_after():
    blocks = draw_blocks()
    outcome = compare(paged.PagedCaches(blocks.key, blocks.value), *tensors(*blocks.inputs))
    outcome.assert_fused()
    outcome.assert_gives(blocks.gathered.attend())
    assert "paged 16" in outcome.features


def test_layers_share_their_table():
    outcome = compare(paged.TwoLayers(), *tensors(*draw_blocks().inputs))
    outcome.assert_fused(sites=2)
    assert all("paged 16" in site.features for site in outcome.report.sites)
    assert outcome.operators["Select"] == 1


def test_values_gathered_by_a_table_of_their_own():
    blocks = draw_blocks()
    values = replace(blocks, table=blocks.table[::-1].copy())
    outcome = compare(paged.TwoTables(), *tensors(*blocks.inputs, values.table))
    assert_gathered(outcome, replace(blocks.gathered, value=values.gathered.value).attend())


def test_values_in_another_number_of_blocks():
    blocks = draw_blocks()
    more = np.concatenate((blocks.value, blocks.value[:1]))
    outcome = compare(Paged(), *tensors(blocks.inputs[0], blocks.key, more, blocks.table))
    assert_gathered(outcome, blocks.gathered.attend())


@pytest.mark.parametrize("block_size", [8, 24, 528])
def test_blocks_that_the_operator_does_not_take(block_size):
    blocks = draw_blocks(block_size=block_size)
    assert_gathered(compare(Paged(), *tensors(*blocks.inputs)), blocks.gathered.attend())


def test_more_blocks_of_a_sequence_than_the_operator_takes():
    blocks = draw_blocks(count=1)
    table = np.zeros((2, 16 * 1024 + 1), np.int32)
    outcome = fuse(Paged(), *tensors(*replace(blocks, table=table).inputs))
    assert_gathered(outcome, blocks.gathered.attend())


def test_positions_gathered_one_by_one():
    """Along the second axis: what looks like 2 blocks of 48 positions are the sequences."""
    blocks = draw_blocks(block_size=48, count=2)
    numbers = np.random.default_rng(9).permutation(48).astype(np.int32)
    outcome = compare(Paged(paged.gather_positions), *tensors(*replace(blocks, table=numbers).inputs))
    query, key, value = blocks.query, *(x[:, numbers].transpose(0, 2, 1, 3) for x in (blocks.key, blocks.value))
    assert_gathered(outcome, Operands(query, key, value).attend())


def test_a_table_for_each_head():
    """Blocks (blocks, 48, D), and for each sequence a block of each head."""
    drawn = draw(batch=10, kv_heads=1, length=48)
    table = np.array([[3, 8], [9, 3]], np.int32)
    key, value = drawn.key[:, 0], drawn.value[:, 0]
    outcome = compare(Paged(heads=net.same), *tensors(drawn.query[:2, :, None], key, value, table))
    assert_gathered(outcome, Operands(drawn.query[:2], key[table], value[table]).attend())


def test_heads_before_blocks():
    blocks = draw_blocks(blocks=4)
    outcome = compare(Paged(heads=paged.heads_first_unmoved), *tensors(*blocks.heads_first))
    query, key, value = blocks.heads_first[0], *(x[blocks.table].reshape(2, 2, 64, 8) for x in blocks.heads_first[1:3])
    assert_gathered(outcome, Operands(query[:, :, 0], key, value).attend())


def test_blocks_inside_positions():
    """Softmax does not mind the order of positions, a mask does."""
    blocks = draw_blocks()
    hidden = draw_hidden(2, 1, 1, 48)
    attention = Paged(heads=paged.blocks_inside, adjust=net.AdditiveSelect(-1e4))
    outcome = compare(attention, *tensors(*blocks.inputs, hidden))
    in_order = hidden.reshape(2, 1, 16, 3).transpose(0, 1, 3, 2).reshape(2, 1, 48)
    assert_gathered(outcome, blocks.gathered.attend(hidden=in_order))


def test_table_that_depends_on_the_scores():
    outcome = compare(paged.TableOfTheScores(), *tensors(*draw_blocks().inputs))
    outcome.assert_refused("scores_used")


def test_table_that_is_written_between_keys_and_values():
    blocks = draw_blocks()
    new = replace(blocks, table=blocks.table[::-1].copy())
    outcome = fuse(paged.TableWrittenBetween(blocks.table), *tensors(*new.inputs))
    assert_gathered(outcome, replace(blocks.gathered, value=new.gathered.value).attend())
