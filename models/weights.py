"""Weights that are made empty and loaded later."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore import dtype as mstype


def zeros(shape: tuple[int, ...], dtype: mstype.Type, name: str) -> Parameter:
    """A weight to be loaded later."""
    return Parameter(Tensor(np.zeros(shape, np.float32), dtype), name=name)


def linear(inputs: int, outputs: int, bias: bool, dtype: mstype.Type) -> nn.Dense:
    """A projection whose weight, (outputs, inputs), is loaded later."""
    return nn.Dense(inputs, outputs, weight_init="zeros", bias_init="zeros", has_bias=bias, dtype=dtype)
