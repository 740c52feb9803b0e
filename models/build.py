"""From a configuration and weights to a network, and to the inputs that its step takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import mindspore as ms
import numpy as np
from mindspore import Tensor

from .bloom import Bloom
from .config import ModelConfig
from .decoder import Decoder
from .falcon import Falcon
from .gemma import Gemma
from .gpt2 import GPT2
from .gptj import GPTJ
from .llama import Llama
from .qwen3 import Qwen3
from .t5 import T5

AnyDecoder = TypeVar("AnyDecoder", bound=Decoder)

MODELS: dict[str, type[Decoder]] = {
    "llama": Llama,
    "mistral": Llama,
    "qwen2": Llama,
    "gpt2": GPT2,
    "falcon": Falcon,
    "qwen3": Qwen3,
    "gemma": Gemma,
    "gptj": GPTJ,
    "bloom": Bloom,
    "t5": T5,
}


def build_model(
    config: ModelConfig,
    weights: Mapping[str, np.ndarray] | int,
    cache: str = "static",
    *,
    batch: int = 1,
    capacity: int = 0,
    dtype: str = "float32",
) -> Decoder:
    """A network with its weights set; `weights` is the arrays by parameter name, or a seed for random ones.

    See `Decoder` for the other arguments. Raises ValueError when a weight is missing, left over or of a wrong
    shape.
    """
    return set_weights(MODELS[config.architecture](config, cache, batch=batch, capacity=capacity, dtype=dtype), weights)


def set_weights(net: AnyDecoder, weights: Mapping[str, np.ndarray] | int) -> AnyDecoder:
    """Give `net`, which is returned, the arrays by parameter name, or random ones from a seed.

    Raises ValueError as `build_model` does.
    """
    parameters = net.weights()
    shapes = {name: p.shape for name, p in parameters.items()}
    if isinstance(weights, int):
        weights = random_weights(shapes, weights)
    check_weights(shapes, weights)
    for name, parameter in parameters.items():
        array = np.ascontiguousarray(weights[name])
        parameter.set_data(Tensor(array if array.dtype == np.float32 else array.astype(np.float32), parameter.dtype))
    return net.set_train(False)


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Seeded fp32 weights that keep activations near 1, so that attention is neither flat nor one-hot."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        array = random.standard_normal(shape, np.float32)
        weights[name] = array * shape[-1] ** -0.5 if len(shape) > 1 else 1 + 0.1 * array
    return weights


def check_weights(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless `weights` has exactly these names and shapes."""
    missing = sorted(shapes.keys() - weights.keys())
    if missing:
        raise ValueError(f"weights lack {len(missing)} of {len(shapes)} tensors, the first is {missing[0]!r}")
    unknown = sorted(weights.keys() - shapes.keys())
    if unknown:
        raise ValueError(f"weights hold {len(unknown)} tensors that the model does not have, as {unknown[0]!r}")
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != tuple(shape):
            raise ValueError(f"weight {name!r} has shape {tuple(weights[name].shape)}; it must be {tuple(shape)}")


def empty_past(net: Decoder) -> list[Tensor]:
    """The growing cache before the first token: key and value of each layer, (B, kvN, 0, D)."""
    if net.is_static:
        return []
    batch, kv_heads, _, size = net.kv_shape
    return [Tensor(np.zeros((batch, kv_heads, 0, size)), net.dtype) for _ in range(2 * net.config.num_layers)]


def set_step_inputs(net: Decoder) -> list[Tensor]:
    """Declare the step's inputs, with the lengths of past and memory free, and return them.

    A network with a growing cache is then compiled once and not once for each length.
    """
    batch, kv_heads, _, size = net.kv_shape
    inputs = [Tensor(shape=(batch, 1), dtype=ms.int32), Tensor(shape=(), dtype=ms.int32)]
    states = 2 * net.config.num_layers * ((not net.is_static) + net.config.reads_encoder)
    inputs += [Tensor(shape=(batch, kv_heads, None, size), dtype=net.dtype) for _ in range(states)]
    if states:
        net.set_inputs(*inputs)
    return inputs
