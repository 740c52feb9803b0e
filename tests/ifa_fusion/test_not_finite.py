"""NaN and infinity in every operand, in both modes: where the reference has them and nowhere else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from operator_problem import MODES, Problem, call

NOT_FINITE = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def assert_like_the_reference(problem: Problem, mode: str) -> np.ndarray:
    output, expected = call("ifa_fusion", mode, problem.arguments()), problem.expected()
    # 2e-2: bf16, the coarsest type, rounds to 2**-9 of values below 4.
    np.testing.assert_allclose(output, expected, rtol=1e-2, atol=2e-2)
    return output


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the reference: inf - inf
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("operand", "name", "dtype"),
    list(itertools.product(["query", "key", "value", "pse_shift"], NOT_FINITE, ["fp16", "bf16", "fp32"])),
)
def test_it_spreads_as_in_the_reference(operand: str, name: str, dtype: str, mode: str) -> None:
    problem = Problem(2, 6, 2, 40, 16, dtype=dtype, lengths="full", mask="int8-3", pse="each", seed=5)
    problem.arrays["attn_mask"][0, 0, 33] = False
    where = {"query": (0, 4, 0, 3), "key": (0, 1, 33, 3), "value": (0, 1, 33, 3), "pse_shift": (0, 4, 0, 33)}[operand]
    problem.arrays[operand][where] = NOT_FINITE[name]
    output = assert_like_the_reference(problem, mode)
    assert np.isfinite(output[1]).all(), "it reached the other sequence"
    assert np.isfinite(output[0, :3]).all(), "it reached the other KV head"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", NOT_FINITE)
def test_scale_that_is_not_finite_makes_everything_nan(scale: str, mode: str) -> None:
    arguments = {**Problem(2, 6, 2, 40, 16).arguments(), "scale_value": NOT_FINITE[scale]}
    assert np.isnan(call("ifa_fusion", mode, arguments)).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tensor", [0, 1], ids=["key", "value"])
@pytest.mark.parametrize(("shape", "where"), [("2", ()), ("2,n,d", (1, 3))])
def test_nan_as_the_scale_of_an_int8_cache(shape: str, where: tuple[int, ...], tensor: int, mode: str) -> None:
    problem = Problem(2, 6, 2, 40, 16, antiquant=shape)
    problem.arrays["antiquant_scale"][tensor, *where] = np.nan
    output = assert_like_the_reference(problem, mode)
    assert np.isnan(output).any()
    assert np.isnan(output).all() == (not where)


@pytest.mark.parametrize("mode", MODES)
def test_nan_becomes_0_in_an_int8_output(mode: str) -> None:
    problem = Problem(2, 6, 2, 40, 16, quant="1", quant_offset=True)
    expected = call("ifa_fusion", mode, problem.arguments())
    problem.assert_solved_by(expected)
    problem.arrays["query"][0, 0] = np.nan
    expected[0, 0] = 0
    np.testing.assert_array_equal(call("ifa_fusion", mode, problem.arguments()), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["int8-3", "uint8-4"])
def test_every_mask_value_but_0_hides(dtype: str, mode: str) -> None:
    problem = Problem(2, 4, 2, 60, 8, mask=dtype)
    hidden = problem.arrays["attn_mask"]
    values = np.resize(np.array([1, 2, 127, -1, -128], np.int8), hidden.shape)
    problem.arrays["attn_mask"] = np.where(hidden, values.view(np.uint8 if dtype == "uint8-4" else np.int8), 0)
    problem.assert_solved_by(call("ifa_fusion", mode, problem.arguments()))
