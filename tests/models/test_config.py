import dataclasses
import json

import pytest

from models.config import PRESETS, ModelConfig, resolve_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 10,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_huggingface_fields_round_trip(preset):
    config = PRESETS[preset]
    assert ModelConfig.from_huggingface(json.loads(json.dumps(config.to_huggingface()))) == config


def test_defaults_are_those_of_huggingface():
    config = ModelConfig.from_huggingface(LLAMA)
    assert (config.num_kv_heads, config.head_dim, config.rope_theta) == (2, 4, 10000.0)
    assert not config.tied_embeddings


def test_rope_theta_of_either_place_is_read():
    moved = LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    assert ModelConfig.from_huggingface(moved).rope_theta == 5e5
    assert ModelConfig.from_huggingface(LLAMA | {"rope_theta": 5e5}).rope_theta == 5e5


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"num_kv_heads": 1, "mlp_norm": False, "intermediate_size": 32, "tied_embeddings": True}),
        ({"multi_query": False}, {"num_kv_heads": 2, "mlp_norm": False}),
        ({"new_decoder_architecture": True, "num_kv_heads": 1}, {"num_kv_heads": 1, "mlp_norm": True}),
        ({"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}, {"num_kv_heads": 2, "mlp_norm": False}),
        ({"ffn_hidden_size": 20, "rope_theta": 5e5}, {"intermediate_size": 20, "rope_theta": 5e5}),
    ],
)
def test_every_form_of_falcon_is_read(fields, expected):
    config = ModelConfig.from_huggingface(LLAMA | {"model_type": "falcon"} | fields)
    assert {name: getattr(config, name) for name in expected} == expected


def test_older_names_of_bloom_are_read():
    sizes = {"vocab_size": 10, "n_embed": 8, "n_layer": 3, "num_attention_heads": 2, "seq_length": 16}
    config = ModelConfig.from_huggingface({"model_type": "bloom"} | sizes)
    assert (config.hidden_size, config.num_layers, config.num_heads, config.head_dim) == (8, 3, 2, 4)
    assert (config.intermediate_size, config.max_positions) == (32, 16)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"num_layers": 3, "gated_mlp": False, "scaled_head": True, "relative_buckets": 32, "max_positions": 512}),
        ({"num_decoder_layers": 2, "feed_forward_proj": "gated-gelu"}, {"num_layers": 2, "gated_mlp": True}),
        ({"tie_word_embeddings": False}, {"tied_embeddings": False, "scaled_head": False}),
        ({"scale_decoder_outputs": False}, {"tied_embeddings": True, "scaled_head": False}),
    ],
)
def test_both_forms_of_t5_are_read(fields, expected):
    sizes = {"vocab_size": 10, "d_model": 8, "d_kv": 6, "d_ff": 16, "num_layers": 3, "num_heads": 2}
    config = ModelConfig.from_huggingface({"model_type": "t5"} | sizes | fields)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "falcon", "alibi": True}, "'alibi' is True; it must be False"),
        ({"model_type": "falcon", "parallel_attn": False}, "'parallel_attn' is False; it must be True"),
        ({"model_type": "qwen3", "use_sliding_window": True}, "'use_sliding_window' is True"),
        ({"model_type": "gemma", "hidden_act": "silu"}, "'hidden_act' is 'silu'; it must be 'gelu_pytorch_tanh'"),
        ({"model_type": "gptj", "n_embd": 8, "n_layer": 1, "n_head": 2, "rotary_dim": 6}, "rotary_dim is 6"),
        ({"model_type": "bloom", "n_layer": 1, "n_head": 2, "vocab_size": None}, "'vocab_size' is missing"),
        ({"model_type": "t5", "feed_forward_proj": "gated-silu"}, "'feed_forward_proj' is 'gated-silu'"),
    ],
)
def test_features_that_a_family_here_lacks_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig.from_huggingface(LLAMA | change)


def test_buckets_of_distances_fit():
    with pytest.raises(ValueError, match="relative_buckets is 32 and relative_distance is 16"):
        dataclasses.replace(PRESETS["tiny-t5"], relative_buckets=32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; it must be one of llama"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"num_key_value_heads": 3}, "num_kv_heads is 3; it must divide num_heads"),
        ({"vocab_size": -1}, "vocab_size is -1; it must be a positive integer"),
        ({"hidden_act": "gelu"}, "'hidden_act' is 'gelu'; it must be 'silu'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "'rope_type' is 'llama3'"),
        ({"head_dim": 5}, "head_dim is 5"),
        ({"model_type": ["llama"]}, r"model_type is \['llama'\]"),
        ({"num_attention_heads": 0}, "'num_attention_heads' is 0; it must be a positive integer"),
        ({"hidden_size": "8"}, "'hidden_size' is '8'; it must be a positive integer"),
    ],
)
def test_bad_fields_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        ModelConfig.from_huggingface(LLAMA | change)


def test_unknown_config_names_the_presets():
    with pytest.raises(FileNotFoundError, match="'huge' is neither a file nor a preset; presets are tiny-llama"):
        resolve_config("huge")


def test_config_that_is_not_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        resolve_config(str(tmp_path / "config.json"))
