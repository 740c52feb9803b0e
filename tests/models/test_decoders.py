import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from reference_models import reference_logits

from models.build import build_model
from models.config import PRESETS
from models.validate import run_steps

pytestmark = pytest.mark.grid

TINY = [preset for preset in PRESETS if preset.startswith("tiny-")]


def relative_rms(actual, expected):
    return np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2))


@pytest.mark.parametrize("preset", TINY)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float16", 4e-3)])
def test_logits_match_the_float64_reference(preset, dtype, tolerance, tokens, weights_of, encoded_of, logits_of):
    encoded = encoded_of(preset)
    encoded = None if encoded is None else encoded[0]
    expected = reference_logits(PRESETS[preset], weights_of(preset), tokens[:, 0], encoded)
    assert relative_rms(logits_of(preset, dtype=dtype), expected) < tolerance


@pytest.mark.parametrize("preset", TINY)
def test_growing_and_static_cache_agree(preset, logits_of):
    assert relative_rms(logits_of(preset, "growing"), logits_of(preset, "static")) < 1e-6


def test_all_channels_of_gptj_may_turn(tokens, weights_of):
    config = dataclasses.replace(PRESETS["tiny-gptj"], rotary_dim=None)
    logits = np.concatenate(run_steps(build_model(config, weights_of("tiny-gptj"), capacity=32), tokens))
    assert relative_rms(logits, reference_logits(config, weights_of("tiny-gptj"), tokens[:, 0])) < 2e-6


@pytest.mark.parametrize("shape", [(1, 5, 47), (2, 5, 48), (5, 48)])
def test_encoder_output_that_does_not_fit_is_named(shape, weights_of):
    net = build_model(PRESETS["tiny-t5"], weights_of("tiny-t5"), capacity=1)
    with pytest.raises(ValueError, match=r"encoded has shape \(.*\); it must be \(1, M, 48\)"):
        net.memory(Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("preset", ["tiny-llama", "tiny-bloom"])
def test_sequences_of_a_batch_do_not_mix(preset, tokens, weights_of, logits_of):
    both = np.concatenate((tokens, tokens[::-1]), 1)
    net = build_model(PRESETS[preset], weights_of(preset), batch=2, capacity=32)
    logits = np.stack(run_steps(net, both))
    assert relative_rms(logits[:, 0], logits_of(preset)) < 1e-6
    assert relative_rms(logits[:, 1], logits_of(preset)) > 0.1


def test_static_cache_forgets_what_a_slot_held_before(tokens, weights_of, logits_of):
    net = build_model(PRESETS["tiny-gpt2"], weights_of("tiny-gpt2"), capacity=32)
    run_steps(net, tokens[::-1])
    np.testing.assert_array_equal(np.concatenate(run_steps(net, tokens)), logits_of("tiny-gpt2"))


def test_a_step_is_repeatable(weights_of):
    net = build_model(PRESETS["tiny-llama"], weights_of("tiny-llama"), capacity=8)
    token, position = Tensor([[5]], ms.int32), Tensor(0, ms.int32)
    np.testing.assert_array_equal(net(token, position).asnumpy(), net(token, position).asnumpy())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache": "paged"}, "cache is 'paged'; it must be one of static, growing"),
        ({"dtype": "int8"}, "dtype is 'int8'; it must be one of"),
        ({"batch": 0}, "batch is 0"),
        ({"capacity": 129}, "capacity is 129; it must be between 1 and"),
        ({"capacity": -1}, "capacity is -1"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        build_model(PRESETS["tiny-llama"], 0, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("norm.weight"), "weights lack 1 of .* 'norm.weight'"),
        (lambda w: w.update(extra=np.zeros(1)), "as 'extra'"),
        (
            lambda w: w.update({"norm.weight": np.zeros(3)}),
            r"'norm.weight' has shape \(3,\); it must be \(64,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, words, weights_of):
    weights = dict(weights_of("tiny-llama"))
    change(weights)
    with pytest.raises(ValueError, match=words):
        build_model(PRESETS["tiny-llama"], weights)
