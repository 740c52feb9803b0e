import mindspore as ms
import numpy as np
import pytest

from models.build import build_model
from models.config import PRESETS
from models.validate import random_encoding, run_steps

STEPS = 20


@pytest.fixture(autouse=True)
def graph_mode():
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=before)


@pytest.fixture(scope="session")
def tokens():
    return np.random.default_rng(1).integers(0, 128, (STEPS, 1), np.int32)


@pytest.fixture(scope="session")
def weights_of():
    """The seeded weights of a preset, by name."""
    known = {}

    def weights(preset):
        if preset not in known:
            net = build_model(PRESETS[preset], 3, capacity=1)
            known[preset] = {name: p.asnumpy() for name, p in net.weights().items()}
        return known[preset]

    return weights


@pytest.fixture(scope="session")
def encoded_of():
    """What stands for the encoder's output, (1, M, hidden_size), of a preset that reads one, or None."""
    return lambda preset: random_encoding(PRESETS[preset], 1, seed=1)


@pytest.fixture(scope="session")
def logits_of(tokens, weights_of, encoded_of):
    """The logits, (STEPS, vocab_size), that a preset's decode steps give; each variant is compiled once."""
    known = {}

    def logits(preset, cache="static", dtype="float32"):
        if (preset, cache, dtype) not in known:
            ms.set_context(mode=ms.GRAPH_MODE)
            capacity = 32 if cache == "static" else 0
            net = build_model(PRESETS[preset], weights_of(preset), cache, capacity=capacity, dtype=dtype)
            known[preset, cache, dtype] = np.concatenate(run_steps(net, tokens, encoded_of(preset)))
        return known[preset, cache, dtype]

    return logits
