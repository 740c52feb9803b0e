"""What Hugging Face calls things: the fields of a config.json and the tensors of a checkpoint, by `model_type`.

Knows only names and plain values; `models.config` and `models.checkpoint` read and write with them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

Fields = dict[str, Any]


def _same(fields: Fields) -> Fields:
    return fields


@dataclasses.dataclass(frozen=True)
class Family:
    """How one `model_type` is written.

    `names`: fields of `ModelConfig` and their names in config.json. `defaults`: what a field of `ModelConfig` is
    when config.json does not say, as a value or a function of the fields known; those without must be there.
    `fixed`: fields of config.json that the models here do not follow, with the values they may have. `decode` and
    `encode` change the fields of a config.json before reading and after writing. `tensors`: patterns and
    replacements that turn names of tensors into those of the models here, one after another; tensors that match
    `dropped` are not weights, or copies of others.
    """

    names: dict[str, str]
    defaults: Fields
    fixed: dict[str, tuple[Any, ...]]
    tensors: tuple[tuple[str, str], ...]
    dropped: str = r"(?!)"
    decode: Callable[[Fields], Fields] = _same
    encode: Callable[[Fields], Fields] = _same


def read_fields(fields: Mapping[str, Any]) -> Fields:
    """The arguments of `ModelConfig` in the fields of a config.json.

    Raises ValueError for an unknown `model_type`, a missing field, or a feature the models do not have.
    """
    model_type = fields.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ValueError(f"model_type is {model_type!r}; it must be one of {', '.join(FAMILIES)}")
    family = FAMILIES[model_type]
    for name, allowed in family.fixed.items():
        _expect(fields, name, allowed)
    fields = family.decode(dict(fields))
    values: Fields = {"architecture": model_type}
    values |= {ours: fields[theirs] for ours, theirs in family.names.items() if fields.get(theirs) is not None}
    missing = [theirs for ours, theirs in family.names.items() if ours not in values and ours not in family.defaults]
    if missing:
        raise ValueError(f"config field {missing[0]!r} is missing")
    for ours in ("hidden_size", "num_heads"):
        if not isinstance(values[ours], int) or values[ours] < 1:
            raise ValueError(f"config field {family.names[ours]!r} is {values[ours]!r}; it must be a positive integer")
    for ours, default in family.defaults.items():
        if ours not in values:
            values[ours] = default(values) if callable(default) else default
    return values


def write_fields(values: Mapping[str, Any]) -> Fields:
    """The fields of a config.json for the arguments of a `ModelConfig`; `read_fields` reads them back."""
    family = FAMILIES[values["architecture"]]
    fields = {"model_type": values["architecture"]} | {name: allowed[0] for name, allowed in family.fixed.items()}
    return family.encode(fields | {theirs: values[ours] for ours, theirs in family.names.items()})


def weight_name(model_type: str, name: str) -> str | None:
    """The name here of a tensor of a checkpoint, or None when it is not a weight of the models here."""
    family = FAMILIES[model_type]
    if re.search(family.dropped, name):
        return None
    for pattern, replacement in family.tensors:
        name = re.sub(pattern, replacement, name)
    return name


def _expect(fields: Mapping[str, Any], name: str, allowed: tuple[Any, ...]) -> None:
    value = fields.get(name, allowed[0])
    if value not in allowed:
        raise ValueError(f"config field {name!r} is {value!r}; it must be {' or '.join(map(repr, allowed))}")


def _own_heads(values: Fields) -> int:
    return values["num_heads"]


def _even_heads(values: Fields) -> int:
    return values["hidden_size"] // values["num_heads"]


def _tied(values: Fields) -> bool:
    return values["tied_embeddings"]


def _four_times(values: Fields) -> int:
    return 4 * values["hidden_size"]


def _plain_rope(fields: Fields) -> Fields:
    """Move rope_theta to where it was before transformers 5 moved it into rope_parameters.

    rope_scaling is the older name of the same object.
    """
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    _expect({"rope_type": rope.get("rope_type", rope.get("type", "default"))}, "rope_type", ("default",))
    return fields | {"rope_theta": float(rope.get("rope_theta") or fields.get("rope_theta") or 10000.0)}


def _read_falcon(fields: Fields) -> Fields:
    """The old form of a block is the new one with a single norm, and one KV head or as many as query heads."""
    if not fields.get("new_decoder_architecture", False):
        _expect(fields, "parallel_attn", (True,))
        fields["num_kv_heads"] = 1 if fields.get("multi_query", True) else None
        fields["num_ln_in_parallel_attn"] = 1
    _expect(fields, "num_ln_in_parallel_attn", (None, 2, 1))
    fields["mlp_norm"] = fields.get("num_ln_in_parallel_attn") != 1
    return _plain_rope(fields)


def _write_falcon(fields: Fields) -> Fields:
    norms = 2 if fields.pop("mlp_norm") else 1
    return fields | {"new_decoder_architecture": True, "num_ln_in_parallel_attn": norms}


def _read_bloom(fields: Fields) -> Fields:
    """The published checkpoints have older names for some sizes."""
    older = {"n_embed": "hidden_size", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
    return fields | {name: fields[old] for old, name in older.items() if fields.get(old) is not None}


def _read_t5(fields: Fields) -> Fields:
    _expect(fields, "feed_forward_proj", ("relu", "gated-gelu"))
    decoder_layers = fields.get("num_decoder_layers") or fields.get("num_layers")
    return fields | {"gated_mlp": fields.get("feed_forward_proj") == "gated-gelu", "num_layers": decoder_layers}


def _write_t5(fields: Fields) -> Fields:
    return fields | {"feed_forward_proj": "gated-gelu" if fields.pop("gated_mlp") else "relu"}


_LLAMA_NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "max_positions": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "tied_embeddings": "tie_word_embeddings",
}
_LLAMA_BIASES = {"qkv_bias": "attention_bias", "output_bias": "attention_bias"}
_LLAMA = Family(
    names=_LLAMA_NAMES | _LLAMA_BIASES,
    defaults={
        "num_kv_heads": _own_heads,
        "head_dim": _even_heads,
        "max_positions": 2048,
        "norm_eps": 1e-6,
        "tied_embeddings": False,
        "qkv_bias": False,
        "output_bias": False,
    },
    fixed={"hidden_act": ("silu",), "mlp_bias": (False,)},
    tensors=((r"^model\.", ""),),
    dropped=r"^model\..*rotary_emb\.inv_freq$",
    decode=_plain_rope,
)
_QWEN_FIXED = {"hidden_act": ("silu",), "use_sliding_window": (False,)}
_TRANSFORMER_TENSORS = ((r"^transformer\.", ""), (r"^h\.", "layers."))
# The causal mask, which older checkpoints hold as a buffer.
_MASK_BUFFERS = r"^(transformer\.)?h\..*\.attn\.(masked_)?bias$"
_GPT2_NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "n_embd",
    "intermediate_size": "n_inner",
    "num_layers": "n_layer",
    "num_heads": "n_head",
    "max_positions": "n_positions",
    "norm_eps": "layer_norm_epsilon",
    "tied_embeddings": "tie_word_embeddings",
}
_MULTI_HEAD: Fields = {
    "num_kv_heads": _own_heads,
    "head_dim": _even_heads,
    "norm_eps": 1e-5,
    "intermediate_size": _four_times,
}
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": dataclasses.replace(
        _LLAMA,
        names=_LLAMA_NAMES | {"window": "sliding_window"},
        defaults=_LLAMA.defaults | {"window": None},
        fixed={"hidden_act": ("silu",)},
    ),
    "qwen2": dataclasses.replace(
        _LLAMA, names=_LLAMA_NAMES, defaults=_LLAMA.defaults | {"qkv_bias": True}, fixed=_QWEN_FIXED
    ),
    "gpt2": Family(
        names=_GPT2_NAMES,
        defaults=_MULTI_HEAD | {"max_positions": 1024, "tied_embeddings": True, "qkv_bias": True, "output_bias": True},
        fixed={
            "activation_function": _TANH_GELU,
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
        },
        tensors=_TRANSFORMER_TENSORS,
        dropped=_MASK_BUFFERS,
    ),
    "falcon": Family(
        names={
            "vocab_size": "vocab_size",
            "hidden_size": "hidden_size",
            "intermediate_size": "ffn_hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "num_kv_heads": "num_kv_heads",
            "max_positions": "max_position_embeddings",
            "norm_eps": "layer_norm_epsilon",
            "rope_theta": "rope_theta",
            "tied_embeddings": "tie_word_embeddings",
            "mlp_norm": "mlp_norm",
        },
        defaults=_MULTI_HEAD | {"max_positions": 2048, "tied_embeddings": True},
        fixed={"activation": ("gelu",), "alibi": (False,), "bias": (False,)},
        tensors=_TRANSFORMER_TENSORS,
        decode=_read_falcon,
        encode=_write_falcon,
    ),
    "qwen3": dataclasses.replace(_LLAMA, defaults=_LLAMA.defaults | {"head_dim": 128}, fixed=_QWEN_FIXED),
    "gemma": dataclasses.replace(
        _LLAMA,
        defaults=_LLAMA.defaults | {"head_dim": 256, "max_positions": 8192, "tied_embeddings": True},
        # The first checkpoints say "gelu" and mean its tanh approximation.
        fixed={"hidden_act": ("gelu_pytorch_tanh", "gelu"), "hidden_activation": (None, "gelu_pytorch_tanh")},
    ),
    "gptj": Family(
        names=_GPT2_NAMES | {"rotary_dim": "rotary_dim"},
        defaults=_MULTI_HEAD | {"max_positions": 2048, "tied_embeddings": False, "rotary_dim": 64},
        fixed={"activation_function": _TANH_GELU},
        tensors=_TRANSFORMER_TENSORS,
        dropped=_MASK_BUFFERS,
    ),
    "bloom": Family(
        names={
            "vocab_size": "vocab_size",
            "hidden_size": "hidden_size",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "max_positions": "seq_length",
            "norm_eps": "layer_norm_epsilon",
            "tied_embeddings": "tie_word_embeddings",
        },
        defaults=_MULTI_HEAD | {"max_positions": 2048, "tied_embeddings": True, "qkv_bias": True, "output_bias": True},
        fixed={"apply_residual_connection_post_layernorm": (False,)},
        tensors=_TRANSFORMER_TENSORS,
        decode=_read_bloom,
    ),
    "t5": Family(
        names={
            "vocab_size": "vocab_size",
            "hidden_size": "d_model",
            "intermediate_size": "d_ff",
            "num_layers": "num_layers",
            "num_heads": "num_heads",
            "head_dim": "d_kv",
            "max_positions": "n_positions",
            "norm_eps": "layer_norm_epsilon",
            "tied_embeddings": "tie_word_embeddings",
            "relative_buckets": "relative_attention_num_buckets",
            "relative_distance": "relative_attention_max_distance",
            "scaled_head": "scale_decoder_outputs",
            "gated_mlp": "gated_mlp",
        },
        defaults={
            "num_kv_heads": _own_heads,
            "max_positions": 512,
            "norm_eps": 1e-6,
            "tied_embeddings": True,
            "relative_buckets": 32,
            "relative_distance": 128,
            "scaled_head": _tied,
        },
        fixed={},
        tensors=(
            (r"^decoder\.", ""),
            (r"^block\.0\.layer\.0\.SelfAttention\.relative_attention_bias", "relative_attention_bias"),
            (r"^block\.", "layers."),
        ),
        # Copies of the shared table; the encoder, which is not here; a bias that early checkpoints hold and never use.
        dropped=r"^encoder\.|^decoder\.embed_tokens\.|EncDecAttention\.relative_attention_bias",
        decode=_read_t5,
        encode=_write_t5,
    ),
}
