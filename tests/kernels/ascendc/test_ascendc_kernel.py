"""The AscendC kernel in its emulator against the reference: which results, from which reads, with which plans.

Every run here is without a finding: the emulator raises one where the device would be, or could be, in trouble. The
usual run takes a seeded part of the largest grids; IFA_TEST_ASCENDC=all, which `make test-ascendc` sets, takes them
whole.
"""

from __future__ import annotations

import itertools
import os
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.ascendc_emulator import Refused, Run, Settings, run
from tests.ifa_fusion.operator_problem import MASKS, Problem

WHOLE = os.environ.get("IFA_TEST_ASCENDC") == "all"

#: Relative and absolute; of an int8 cache the first, or that of the query's type if that is greater.
INT8_CACHE_TOLERANCE = 2e-3
TOLERANCES = {"fp16": 1e-3, "bf16": 8e-3}

GROUPS = (1, 2, 5, 8, 16, 33, 64)
HEAD_SIZES = (16, 64, 72, 80, 128, 192, 256, 512)
LENGTHS = (1, 15, 16, 17, 511, 512, 513, 2047, 2049, 8193)
CACHES = ("fp16", "bf16", "fp16 int8", "bf16 int8")
CORES = range(1, 49)
ALL_CORES = Settings()


def sample(cases: list[Any], count: int) -> list[Any]:
    """All cases, or a seeded choice of some."""
    return cases if WHOLE else random.Random(5).sample(cases, count)


def arguments_of(problem: Problem) -> dict[str, Any]:
    """The operator's arguments; a mask in its type, and nothing but NaN where a sequence has no position."""
    arguments = {**problem.arrays, **problem.attributes}
    if "attn_mask" in arguments and not problem.mask.startswith(("bool", "all")):
        # Neither the lowest bit nor the sign alone hides a position.
        numbers = arguments["attn_mask"].astype(np.uint8) * 130
        arguments["attn_mask"] = numbers.view(problem.mask.split("-")[0])
    if problem.lengths and not problem.padding and not problem.paging:
        for name, (sequence, length) in itertools.product(("key", "value"), enumerate(lengths_of(problem))):
            rows = arguments[name][sequence].swapaxes(0, -2)
            rows[length:] = 127 if problem.antiquant else np.nan
    return arguments


def lengths_of(problem: Problem) -> list[int]:
    """Of each sequence, the positions that it attends to."""
    given = problem.arrays.get("actual_seq_lengths", problem.length)
    lengths = [int(length) for length in np.broadcast_to(given, problem.batch)]
    padding = max(problem.arrays.get("kv_padding_size", 0), 0)
    if "actual_seq_lengths" not in problem.arrays or problem.paging:
        padding = 0
    return [length if length + padding <= problem.length or problem.paging else 0 for length in lengths]


def assert_solved(problem: Problem, run_settings: Settings = ALL_CORES) -> Run:
    """Run a problem; accept the output and that every valid position was read once, and every result written once."""
    arguments = arguments_of(problem)
    result = run(arguments, run_settings)
    row_bytes = problem.kv_heads * problem.head_size * arguments["key"].itemsize
    for name in ("key", "value"):
        assert result.tensors[name]["read"] == sum(lengths_of(problem)) * row_bytes
    assert result.output_complete
    assert result.tensors["output"]["written"] == result.output.nbytes
    assert_close(problem, result.output)
    return result


def assert_close(problem: Problem, output: np.ndarray) -> None:
    expected = problem.expected()
    if problem.quant:
        assert output.dtype == np.int8
        difference = output - np.clip(np.rint(expected), -128, 127)
        assert np.abs(difference).max() <= 1
        return
    tolerance = max(TOLERANCES[problem.dtype], INT8_CACHE_TOLERANCE if problem.antiquant else 0)
    np.testing.assert_allclose(output.astype(np.float64), expected, rtol=tolerance, atol=tolerance)


def with_cache(cache: str) -> dict[str, str]:
    """The types that one of CACHES means, as arguments of a problem."""
    dtype, *int8 = cache.split()
    return {"dtype": dtype, "antiquant": "2,n,1,d" if int8 else ""}


@pytest.mark.parametrize(
    "problem",
    [
        Problem(1, 5, 1, 4096, 128, "fp16", layout, "full", mask="bool-2", pse="one", paging=paging, block_size=size)
        for layout, paging, size in (("BSH", "", 0), ("BNSD", "", 0), ("BSH", "own", 128), ("BNSD", "own-4d", 128))
    ]
    + [
        Problem(1, 1, 1, 32, 32, "fp16", "BSH"),
        Problem(4, 6, 3, 32, 32, "fp16", "BNSD"),
        Problem(1, 4, 1, 10, 128, "fp16", "BSH", scale=1.0),
    ],
    ids=str,
)
def test_mindspores_own_cases(problem):
    assert_solved(problem)


UNIT_CASES = [
    partial(Problem, 1, 20, 20, 1000, 128, "fp16", mask="bool-4"),
    partial(Problem, 1, 40, 40, 1000, 128, "fp16"),
    partial(Problem, 1, 49, 1, 1000, 128, "fp16"),
    partial(Problem, 1, 4, 4, 1000, 128, "fp16", "BSH", "full", quant="1"),
    partial(Problem, 1, 4, 4, 1000, 128, "fp16", antiquant="2,n,1,d"),
    partial(Problem, 1, 4, 4, 1000, 128, "fp16", antiquant="2,n,1,d", quant="1"),
    partial(Problem, 1, 20, 2, 4096, 16, "fp16", lengths="one", padding="some"),
    partial(Problem, 1, 4, 4, 8192, 256, "fp16", mask="uint8-2", pse="one"),
    partial(Problem, 5, 4, 4, 80, 16, "fp16", "BSH", paging="own", block_size=16),
    partial(Problem, 5, 4, 4, 80, 16, "fp16", paging="own-4d", block_size=16),
    *(
        partial(Problem, 1, 4, 2, 200, 64, "fp16", layout, quant=quant, quant_offset=True)
        for layout, quant in itertools.product(("BSH", "BNSD"), ("1,n,1,d", "n,1,d", "n,d", "1,1,n,d", "1,h", "1,1,h"))
    ),
]
LARGE_UNIT_CASES = [
    partial(Problem, 8, 32, 32, 2048, 128, "fp16", "BSH"),
    partial(Problem, 5, 40, 40, 16000, 128, "bf16", antiquant="2,n,1,d", quant="1"),
    partial(Problem, 24, 11, 1, 8192, 128, "bf16", "BSH", antiquant="2,n,d"),
    partial(Problem, 50, 8, 1, 16384, 128, "fp16", "BSH", paging="own", block_size=128),
]


@pytest.mark.parametrize("draw", [*UNIT_CASES, *(LARGE_UNIT_CASES if WHOLE else [])], ids=lambda draw: f"{draw.args}")
def test_the_shapes_of_canns_unit_tests(draw):
    assert_solved(draw())


@pytest.mark.parametrize(
    ("cache", "group", "head_size", "length"),
    sample(list(itertools.product(CACHES, GROUPS, HEAD_SIZES, LENGTHS)), 60),
)
def test_groups_head_sizes_and_lengths(cache, group, head_size, length):
    number = GROUPS.index(group) + HEAD_SIZES.index(head_size) + LENGTHS.index(length)
    layout = ("BSH", "BNSD")[number % 2]
    kv_heads = 2 if length < 4096 else 1
    problem = Problem(1, group * kv_heads, kv_heads, length, head_size, layout=layout, **with_cache(cache))
    assert_solved(problem)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("cores", sample(list(CORES), 6))
def test_core_counts(cache, group, cores):
    problem = Problem(3, 2 * group, 2, 1100, 192, lengths="each", mask="bool-2", **with_cache(cache))
    for known in (True, False):
        assert_solved(problem, Settings(cores, cores, host_knows_lengths=known))


@pytest.mark.parametrize("cache", CACHES)
def test_every_ring_of_buffers_comes_round_on_a_long_row(cache):
    assert_solved(Problem(1, 5, 1, 8192, 128, **with_cache(cache)), Settings(1, 1))


FEATURES = {
    "plain": {},
    "lengths": {"lengths": "zeros"},
    "one length": {"lengths": "one"},
    "mask": {"mask": "int8-3"},
    "all masked": {"mask": "all", "lengths": "full"},
    "bias for all": {"pse": "one"},
    "bias for each": {"pse": "each", "mask": "uint8-4", "lengths": "each"},
    "no padding": {"padding": "zero", "lengths": "each"},
    "padding": {"padding": "some", "lengths": "each", "mask": "bool-2", "pse": "each"},
    "negative padding": {"padding": "negative", "lengths": "each"},
    "padding beyond": {"padding": "beyond", "lengths": "each"},
    "huge padding": {"padding": "huge", "lengths": "each"},
    "padding without lengths": {"padding": "some"},
    "blocks": {"paging": "own", "block_size": 32},
    "shared blocks": {"paging": "shared", "block_size": 64, "mask": "bool-2", "pse": "one", "seed": 1},
    "blocks by head": {"paging": "own-4d", "block_size": 128, "layout": "BNSD", "mask": "int8-2", "pse": "each"},
    "padding with blocks": {"paging": "own", "block_size": 512, "padding": "some"},
    "int8 output": {"quant": "1", "quant_offset": True, "lengths": "zeros"},
    "int8 output by channel": {"quant": "n,d", "quant_offset": True, "mask": "bool-2"},
    "no factor": {"scale": 1.0},
    "negative scale": {"scale": -0.3},
}
ANTIQUANT_FEATURES = {
    "per tensor": {"antiquant": "2"},
    "offset": {"antiquant": "2,n,d", "antiquant_offset": True},
    "offset per tensor": {"antiquant": "2", "antiquant_offset": True},
    "offset, blocks": {"antiquant": "2,h", "antiquant_offset": True, "paging": "own", "block_size": 64},
    "offset, all": {
        "antiquant": "2,1,n,d",
        "antiquant_offset": True,
        "lengths": "zeros",
        "mask": "bool-2",
        "pse": "each",
        "padding": "some",
        "quant": "1",
    },
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("group", [1, 5])
@pytest.mark.parametrize("feature", FEATURES)
def test_features(cache, group, feature):
    # A head size that is no multiple of 16 elements, and rows that cores share.
    features = {"layout": ("BSH", "BNSD")[group % 2], **with_cache(cache), **FEATURES[feature]}
    assert_solved(Problem(3, 2 * group, 2, 700, 72, **features), Settings(7, 11, host_knows_lengths=False))


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("feature", ANTIQUANT_FEATURES)
def test_parameters_of_int8_caches(dtype, feature):
    assert_solved(Problem(2, 6, 2, 700, 80, dtype, **ANTIQUANT_FEATURES[feature]), Settings(7, 11))


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("length", [127, 128, 129, 255, 257])
@pytest.mark.parametrize("paging", ["own", "own-4d"])
def test_blocks_end_where_sequences_do_or_do_not(group, length, paging):
    problem = Problem(1, 2 * group, 2, length, 64, "fp16", lengths="full", paging=paging, block_size=128)
    assert_solved(problem)


@pytest.mark.parametrize("group", [1, 2])
def test_int8_outputs_are_rounded_to_the_nearest(group):
    problem = Problem(1, 8 * group, 8, 300, 128, "fp16", quant="1")
    output = assert_solved(problem).output
    # Half of them would be one too small if fractions were cut off.
    assert np.mean(output == np.clip(np.rint(problem.expected()), -128, 127)) > 0.95


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("slope", [1, -1])
def test_the_shares_of_a_row_are_weighed_by_the_largest_score_of_all(group, slope):
    problem = Problem(1, group, 1, 4096, 64, "fp16", pse="one")
    problem.arrays["pse_shift"][:] = slope * np.linspace(-3000, 3000, 4096)
    assert assert_solved(problem).split_rows


@pytest.mark.parametrize("group", [1, 2])
def test_a_row_without_positions_gives_the_quantised_zero(group):
    problem = Problem(2, 2 * group, 2, 64, 32, "fp16", lengths="zeros", quant="1", quant_offset=True)
    problem.arrays["quant_offset2"][:] = 3.5
    result = run(arguments_of(problem))
    assert np.all(result.output[0] == 4)


@pytest.mark.parametrize("group", [1, 2])
def test_lengths_that_a_cache_cannot_have_are_clipped_where_only_the_device_sees_them(group):
    problem = Problem(3, 2 * group, 2, 300, 64, "fp16")
    arguments = {**arguments_of(problem), "actual_seq_lengths": [400, -5, 2**40]}
    result = run(arguments, Settings(3, 3, host_knows_lengths=False))
    problem.arrays["actual_seq_lengths"] = np.array([300, 0, 300])
    assert_close(problem, result.output)
    with pytest.raises(Refused, match="actual_seq_lengths must lie in"):
        run(arguments)


@pytest.mark.parametrize("group", [1, 2])
def test_the_same_call_gives_the_same_bits(group):
    problem = Problem(1, 2 * group, 2, 5000, 128, "fp16", pse="one")
    first, second = (run(arguments_of(problem)) for _ in range(2))
    assert first.split_rows
    assert first.output.tobytes() == second.output.tobytes()
    assert first.cycles == second.cycles


def test_a_call_that_the_operator_does_not_take_is_refused():
    arguments = arguments_of(Problem(1, 2, 1, 16, 16, "fp16"))
    with pytest.raises(Refused, match="query must be a tensor of Float16"):
        run({**arguments, **{name: arguments[name].astype(np.float32) for name in ("query", "key", "value")}})
    with pytest.raises(Refused, match="block_size"):
        run({**arguments, "block_table": np.zeros((1, 1), np.int32), "actual_seq_lengths": [16]})


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Small calls, of everything that the operator takes."""
    group = draw(st.sampled_from(GROUPS))
    kv_heads = draw(st.integers(1, 3))
    int8_cache = draw(st.booleans())
    features: dict[str, Any] = {
        "dtype": draw(st.sampled_from(("fp16", "bf16"))),
        "layout": draw(st.sampled_from(("BSH", "BNSD"))),
        "lengths": draw(st.sampled_from(("", "each", "zeros", "full", "one"))),
        "mask": draw(st.sampled_from(("", "all", *MASKS))),
        "pse": draw(st.sampled_from(("", "one", "each"))),
        "padding": draw(st.sampled_from(("", "zero", "some", "negative", "beyond", "huge"))),
        "scale": draw(st.none() | st.floats(-1, 1)),
        "zero_kv_heads": group == 1 and draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }
    if draw(st.booleans()):
        features["paging"] = draw(st.sampled_from(("own", "shared", "own-4d")))
        features["block_size"] = draw(st.integers(1, 8 if int8_cache else 16)) * (32 if int8_cache else 16)
        features["layout"] = "BNSD" if features["paging"] == "own-4d" else features["layout"]
    if int8_cache:
        features["antiquant"] = draw(st.sampled_from(("2", "2,n,1,d", "2,1,n,d", "2,n,d", "2,h")))
        features["antiquant_offset"] = draw(st.booleans())
    if draw(st.booleans()):
        features["quant"] = "1" if "paging" in features else draw(st.sampled_from(("1", "1,n,1,d", "h")))
        features["quant_offset"] = draw(st.booleans())
    batch, length, head_size = draw(st.integers(1, 3)), draw(st.integers(1, 700)), draw(st.integers(1, 140))
    return Problem(batch, group * kv_heads, kv_heads, length, head_size, **features)


@settings(
    max_examples=2000 if WHOLE else 40,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(problems(), st.integers(1, 48), st.integers(1, 48), st.booleans())
def test_any_call(problem, cube_cores, vector_cores, known):
    assert_solved(problem, Settings(cube_cores, vector_cores, host_knows_lengths=known))
