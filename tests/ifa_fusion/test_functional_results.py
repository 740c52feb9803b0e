"""What the operator computes: against the float64 reference, in both modes, under both names."""

from __future__ import annotations

import itertools
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from mindspore import Tensor
from operator_problem import DTYPES, LENGTHS, MASKS, MODES, OPERATORS, Problem, call

pytestmark = pytest.mark.grid

# (B, N, kvN, S, D): one of everything; odd sizes; groups of 1, 2, 4, 5, 8 and 64; the largest head; many keys
SHAPES = [
    (1, 1, 1, 1, 1),
    (1, 4, 4, 16, 64),
    (2, 8, 2, 33, 72),
    (3, 6, 1, 129, 80),
    (1, 16, 2, 513, 128),
    (2, 5, 1, 65, 16),
    (1, 64, 1, 40, 64),
    (1, 2, 1, 20, 512),
    (2, 4, 2, 1025, 96),
    (4, 2, 2, 17, 7),
]
FEATURES = [
    {},
    {"lengths": "each"},
    {"mask": "bool-2"},
    {"pse": "one"},
    {"lengths": "one", "mask": "int8-3"},
    {"lengths": "zeros", "pse": "each"},
    {"mask": "all"},
    {"lengths": "int32", "mask": "uint8-4", "pse": "each"},
    {"lengths": "list"},
    {"mask": "all", "pse": "one", "lengths": "list"},
    {"magnitude": 8.0},
]


def _grid() -> list[Problem]:
    """Every shape in every layout and type; the features take turns, so that each meets many of those."""
    combinations = itertools.product(SHAPES, DTYPES, ("BSH", "BNSD"))
    return [
        Problem(*shape, dtype=dtype, layout=layout, seed=index, **FEATURES[index % len(FEATURES)])
        for index, (shape, dtype, layout) in enumerate(combinations)
    ]


PAGED_FEATURES = [
    {"lengths": "full"},
    {"lengths": "each"},
    {"lengths": "full", "mask": "bool-2", "pse": "one"},
    {"lengths": "zeros", "mask": "all"},
    {"lengths": "list", "pse": "each"},
    {"lengths": "one", "mask": "uint8-4"},
    {"lengths": "int32"},
]


def _paged_grid() -> list[Problem]:
    """Every block size with lengths that fill the last block, fill all but one position, and one too many."""
    combinations = itertools.product(
        (16, 32, 48, 64, 128, 512),
        (0, 1, -1),
        (("BSH", "own"), ("BNSD", "own"), ("BNSD", "own-4d"), ("BSH", "shared")),
    )
    return [
        Problem(
            *(1 + index % 3, 6, (6, 2, 1)[index % 3], 2 * block_size + remainder, (64, 40, 128, 7)[index % 4]),
            dtype=list(DTYPES)[index // 4 % 3],
            layout=layout,
            paging=paging,
            block_size=block_size,
            seed=index // 2,
            **PAGED_FEATURES[index % len(PAGED_FEATURES)],
        )
        for index, (block_size, remainder, (layout, paging)) in enumerate(combinations)
    ]


PADDED_FEATURES = [
    *({"padding": padding, "lengths": "each"} for padding in ("zero", "some", "negative", "beyond", "huge")),
    {"padding": "some", "lengths": "zeros", "mask": "bool-2", "pse": "each"},
    {"padding": "some", "lengths": "one", "mask": "uint8-4", "pse": "one"},
    {"padding": "negative", "lengths": "full", "mask": "all"},
    {"padding": "zero", "lengths": "list", "mask": "all", "pse": "one"},
    {"padding": "beyond", "lengths": "full", "pse": "each"},
    {"padding": "some"},  # ignored
    {"padding": "some", "paging": "own", "block_size": 16},  # ignored
]


def _padded_grid() -> list[Problem]:
    combinations = itertools.product([(3, 6, 2, 50, 40), (2, 8, 1, 1, 16), (2, 4, 4, 300, 64)], PADDED_FEATURES)
    return [
        Problem(*shape, dtype=list(DTYPES)[index % 3], layout=("BSH", "BNSD")[index // 3 % 2], seed=index, **features)
        for index, (shape, features) in enumerate(combinations)
    ]


ANTIQUANT = ["2", "2,n,1,d", "2,1,n,d", "2,n,d", "2,h"]
QUANT = ["1", "1,n,1,d", "n,1,d", "n,d", "1,1,n,d", "1,n,d", "1,h", "1,1,h", "h"]
QUANTISED_FEATURES = [
    {},
    {"lengths": "zeros", "mask": "bool-2"},
    {"lengths": "each", "pse": "each"},
    {"mask": "all", "pse": "one"},
    {"lengths": "each", "padding": "some"},
    {"magnitude": 8.0},
]


def _quantised_grid() -> list[Problem]:
    """Every shape of scales in every type, layout and kind of cache; the features take turns."""
    forms = [
        *({"antiquant": antiquant, "antiquant_offset": offset} for antiquant in ANTIQUANT for offset in (False, True)),
        *({"quant": quant, "quant_offset": offset} for quant in QUANT for offset in (False, True)),
        *({"antiquant": "2,h", "antiquant_offset": True, "quant": quant, "quant_offset": True} for quant in QUANT),
    ]
    sizes = [(2, 4, 2, 33, 24), (3, 5, 1, 70, 64), (1, 6, 6, 513, 16)]
    return [
        Problem(
            *sizes[index % 3],
            dtype=list(DTYPES)[index // 2 % 3],
            layout=("BSH", "BNSD")[index % 2],
            seed=index,
            **form,
            **QUANTISED_FEATURES[index % len(QUANTISED_FEATURES)],
        )
        for index, form in enumerate(forms * 2)
    ]


def _quantised_paged_grid() -> list[Problem]:
    combinations = itertools.product(
        (32, 96, 512), (("BSH", "own"), ("BNSD", "own-4d"), ("BNSD", "shared")), ("", "1"), ANTIQUANT[:2]
    )
    return [
        Problem(
            *(1 + index % 3, 6, (6, 2, 1)[index % 3], block_size + 7, (64, 40, 7)[index % 3]),
            dtype=list(DTYPES)[index // 2 % 3],
            layout=layout,
            paging=paging,
            block_size=block_size,
            antiquant=antiquant,
            antiquant_offset=index % 2 == 0,
            quant=quant,
            seed=index,
            **PAGED_FEATURES[index % len(PAGED_FEATURES)],
        )
        for index, (block_size, (layout, paging), quant, antiquant) in enumerate(combinations)
    ]


PROBLEMS = _grid() + _paged_grid() + _padded_grid() + _quantised_grid() + _quantised_paged_grid()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_result_is_the_reference_rounded_once(problem: Problem, mode: str) -> None:
    problem.assert_solved_by(call("ifa_fusion", mode, problem.arguments()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("problem", PROBLEMS[::5], ids=str)
def test_operator_of_mindspore_gives_the_same(problem: Problem, mode: str) -> None:
    problem.assert_solved_by(call("mindspore", mode, problem.arguments()))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    kv_heads = draw(st.integers(1, 4))
    group = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 16, 64]))
    layout = draw(st.sampled_from(["BSH", "BNSD"]))
    paging = draw(st.sampled_from(["", "", "own", "shared", *(["own-4d"] if layout == "BNSD" else [])]))
    antiquant = draw(st.sampled_from(["", *ANTIQUANT]))
    quant = draw(st.sampled_from(["", "", "1", *([] if paging else QUANT[1:])]))
    return Problem(
        batch=draw(st.integers(1, 4)),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        zero_kv_heads=group == 1 and draw(st.booleans()),
        length=draw(st.integers(1, 200)),
        head_size=draw(st.integers(1, 160)),
        dtype=draw(st.sampled_from(sorted(DTYPES))),
        layout=layout,
        lengths=draw(st.sampled_from(["", *LENGTHS])),
        mask=draw(st.sampled_from(["", "", *MASKS, "all"])),
        pse=draw(st.sampled_from(["", "one", "each"])),
        paging=paging,
        block_size=(32 if antiquant else 16) * draw(st.integers(1, 8)) if paging else 0,
        padding=draw(st.sampled_from(["", "", "zero", "some", "negative", "beyond", "huge"])),
        antiquant=antiquant,
        antiquant_offset=bool(antiquant) and draw(st.booleans()),
        quant=quant,
        quant_offset=bool(quant) and draw(st.booleans()),
        scale=draw(st.sampled_from([None, None, 0.0, 1.0, -0.5])),
        inner_precise=draw(st.integers(0, 1)),
        magnitude=draw(st.sampled_from([1.0, 8.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


#: What a graph is compiled for: all but the sizes and the numbers. One of most things in each, and all dtypes.
GRAPHS: list[dict[str, Any]] = [
    {"heads": 6, "kv_heads": 2, "layout": "BSH", "lengths": "each", "mask": "bool-4", "pse": "one"},
    {"heads": 5, "kv_heads": 1, "layout": "BNSD", "mask": "uint8-2", "pse": "each", "lengths": "one",
     "padding": "some"},
    {"heads": 3, "kv_heads": 3, "layout": "BNSD", "zero_kv_heads": True, "quant": "n,d", "quant_offset": True},
    {"heads": 16, "kv_heads": 1, "layout": "BSH", "antiquant": "2,h", "antiquant_offset": True, "padding": "some",
     "lengths": "zeros"},
    {"heads": 4, "kv_heads": 2, "layout": "BNSD", "antiquant": "2,n,1,d", "quant": "1", "mask": "all"},
    {"heads": 8, "kv_heads": 2, "layout": "BSH", "paging": "own", "block_size": 16, "mask": "int8-3", "pse": "each"},
    {"heads": 2, "kv_heads": 2, "layout": "BNSD", "paging": "own-4d", "block_size": 48, "lengths": "int32-one"},
    {"heads": 64, "kv_heads": 1, "layout": "BNSD", "paging": "shared", "block_size": 32, "antiquant": "2",
     "antiquant_offset": True, "quant": "1", "quant_offset": True, "pse": "one"},
]  # fmt: skip


@st.composite
def problems_of(draw: st.DrawFn, graph: dict[str, Any]) -> Problem:
    return Problem(
        **graph,
        batch=draw(st.integers(1, 4)),
        length=draw(st.integers(1, 200)),
        head_size=draw(st.integers(1, 160)),
        dtype=draw(st.sampled_from(sorted(DTYPES))),
        scale=-0.125,
        magnitude=draw(st.sampled_from([1.0, 8.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def assert_solved_for_any(strategy: st.SearchStrategy[Problem], mode: str, cases: int, share: int) -> None:
    """Try calls of a strategy; a failure shows the smallest one as a program."""

    @seed(share)
    @settings(max_examples=cases, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(strategy)
    def gives_the_reference(problem: Problem) -> None:
        note(
            "From tests/ifa_fusion:\n"
            "from operator_problem import Problem, call\n"
            f"problem = {problem!r}\n"
            f'problem.assert_solved_by(call("ifa_fusion", "{mode}", problem.arguments()))'
        )
        problem.assert_solved_by(call("ifa_fusion", mode, problem.arguments()))

    gives_the_reference()


# 2,000 calls, in shares that each end soon.
@pytest.mark.parametrize("share", range(8))
def test_any_valid_call_gives_the_reference(share: int) -> None:
    assert_solved_for_any(problems(), "pynative", 225, share)


@pytest.mark.parametrize("graph", range(len(GRAPHS)))
def test_graph_for_any_sizes_gives_the_reference(graph: int) -> None:
    assert_solved_for_any(problems_of(GRAPHS[graph]), "dynamic", 25, graph)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_name_of_the_layout_may_be_in_small_letters(operator: str, mode: str) -> None:
    for layout in ("BSH", "BNSD"):
        problem = Problem(2, 4, 2, 9, 8, layout=layout)
        problem.assert_solved_by(call(operator, mode, {**problem.arguments(), "input_layout": layout.lower()}))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_scale_may_be_a_tensor_without_dimensions(operator: str, mode: str) -> None:
    problem = Problem(2, 4, 2, 9, 8, scale=0.75)
    scale = Tensor(0.75, ms.float32)
    problem.assert_solved_by(call(operator, mode, {**problem.arguments(), "scale_value": scale}))


@pytest.mark.parametrize("mode", MODES)
def test_positions_beyond_the_length_are_not_read(mode: str) -> None:
    problem = Problem(2, 4, 2, 12, 8, lengths="each", seed=3)
    problem.arrays["actual_seq_lengths"][:] = [5, 9]
    expected = problem.expected()
    for sequence, length in enumerate([5, 9]):
        problem.arrays["key"][sequence, :, length:] = np.nan
        problem.arrays["value"][sequence, :, length:] = np.inf
    np.testing.assert_allclose(call("ifa_fusion", mode, problem.arguments()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("wrong", [-1, 7, 2**31 - 1])
def test_needed_block_that_is_not_in_the_cache_is_refused(wrong: int, operator: str, mode: str) -> None:
    problem = Problem(2, 4, 2, 40, 8, lengths="full", paging="own", block_size=16)
    arguments = problem.arguments()
    table = problem.arrays["block_table"].copy()
    table[1, 2] = wrong
    with pytest.raises(RuntimeError, match=rf"block_table\[1, 2\] is {wrong}; it must be 0 to 6"):
        call(operator, mode, {**arguments, "block_table": Tensor(table)})
    problem.arrays["actual_seq_lengths"][1] = 32
    problem.assert_solved_by(call(operator, mode, {**problem.arguments(), "block_table": Tensor(table)}))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("antiquant", ["", "2,h"])
def test_both_precisions_compute_the_same(antiquant: str, mode: str) -> None:
    arguments = Problem(2, 4, 2, 37, 16, dtype="fp16", antiquant=antiquant).arguments()
    results = [call("ifa_fusion", mode, {**arguments, "inner_precise": precise}) for precise in (0, 1)]
    np.testing.assert_array_equal(*results)


def test_zero_kv_heads_means_as_many_as_query_heads() -> None:
    problem = Problem(2, 4, 4, 9, 8)
    problem.assert_solved_by(call("ifa_fusion", "pynative", {**problem.arguments(), "num_key_value_heads": 0}))


def test_block_size_is_not_used_without_a_block_table() -> None:
    problem = Problem(2, 4, 4, 9, 8)
    problem.assert_solved_by(call("ifa_fusion", "pynative", {**problem.arguments(), "block_size": 3}))
