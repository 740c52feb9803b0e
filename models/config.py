"""What a decoder model looks like: sizes and switches, read from a Hugging Face config.json.

Knows nothing of MindSpore; every model class and the checkpoint loader are built from a `ModelConfig`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ARCHITECTURES = ("llama", "mistral", "qwen2", "gpt2")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of one decoder-only model.

    `architecture` is one of `ARCHITECTURES`. `window` is the sliding window in tokens, or None for full
    attention. `qkv_bias` and `output_bias` say whether the attention projections carry a bias.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float
    rope_theta: float = 10000.0
    tied_embeddings: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    window: int | None = None

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture is {self.architecture!r}; it must be one of {', '.join(ARCHITECTURES)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{field.name} is {value!r}; it must be a positive integer")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads is {self.num_kv_heads}; it must divide num_heads, which is {self.num_heads}"
            )
        if self.architecture != "gpt2" and self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; rotary embedding needs an even number")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window}; it must be None or a positive integer")

    @property
    def group_size(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_heads // self.num_kv_heads

    @classmethod
    def from_huggingface(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """Read the fields of a Hugging Face config.json.

        Raises ValueError for an unknown `model_type`, a missing field, or a feature the models do not have.
        """
        model_type = fields.get("model_type")
        if model_type == "gpt2":
            return _read_gpt2(fields)
        if model_type in ("llama", "mistral", "qwen2"):
            return _read_llama(fields, model_type)
        raise ValueError(f"model_type is {model_type!r}; it must be one of {', '.join(ARCHITECTURES)}")

    @classmethod
    def from_file(cls, path: str | Path) -> ModelConfig:
        """Read a config.json. Raises FileNotFoundError, or ValueError when it is not a configuration."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"config {str(path)!r} does not exist; it must be a config.json file")
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"config {str(path)!r} is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError(f"config {str(path)!r} holds a {type(fields).__name__}; it must hold a JSON object")
        return cls.from_huggingface(fields)

    def to_huggingface(self) -> dict[str, Any]:
        """The fields of a Hugging Face config.json; `from_huggingface` reads them back to an equal object."""
        fields: dict[str, Any] = {"model_type": self.architecture, "vocab_size": self.vocab_size}
        if self.architecture == "gpt2":
            return fields | {
                "n_embd": self.hidden_size,
                "n_inner": self.intermediate_size,
                "n_layer": self.num_layers,
                "n_head": self.num_heads,
                "n_positions": self.max_positions,
                "layer_norm_epsilon": self.norm_eps,
                "activation_function": "gelu_new",
                "tie_word_embeddings": self.tied_embeddings,
            }
        fields |= {
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tied_embeddings,
        }
        if self.architecture == "llama":
            fields["attention_bias"] = self.qkv_bias
        if self.architecture == "mistral":
            fields["sliding_window"] = self.window
        return fields


PRESETS: dict[str, ModelConfig] = {
    "tiny-llama": ModelConfig("llama", 128, 64, 96, 2, 4, 2, 16, 128, 1e-5, tied_embeddings=True),
    "tiny-mistral": ModelConfig("mistral", 128, 64, 96, 2, 4, 2, 16, 128, 1e-5, window=8),
    "tiny-qwen2": ModelConfig("qwen2", 128, 64, 96, 2, 4, 2, 16, 128, 1e-6, qkv_bias=True),
    "tiny-gpt2": ModelConfig(
        "gpt2", 128, 64, 256, 2, 4, 4, 16, 128, 1e-5, tied_embeddings=True, qkv_bias=True, output_bias=True
    ),
    "smollm2-135m": ModelConfig(
        "llama", 49152, 576, 1536, 30, 9, 3, 64, 8192, 1e-5, rope_theta=100000.0, tied_embeddings=True
    ),
    "gpt2": ModelConfig(
        "gpt2",
        50257,
        768,
        3072,
        12,
        12,
        12,
        64,
        1024,
        1e-5,
        tied_embeddings=True,
        qkv_bias=True,
        output_bias=True,
    ),
}


def resolve_config(name_or_path: str) -> ModelConfig:
    """A preset by name, or a config.json by path. Raises FileNotFoundError or ValueError."""
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    if Path(name_or_path).is_file():
        return ModelConfig.from_file(name_or_path)
    raise FileNotFoundError(f"config {name_or_path!r} is neither a file nor a preset; presets are {', '.join(PRESETS)}")


def _required(fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise ValueError(f"config field {name!r} is missing")
    return fields[name]


def _expect(fields: Mapping[str, Any], name: str, allowed: tuple[Any, ...]) -> None:
    value = fields.get(name, allowed[0])
    if value not in allowed:
        raise ValueError(f"config field {name!r} is {value!r}; it must be {' or '.join(map(repr, allowed))}")


def _read_llama(fields: Mapping[str, Any], model_type: str) -> ModelConfig:
    _expect(fields, "hidden_act", ("silu",))
    _expect(fields, "mlp_bias", (False,))
    _expect(fields, "use_sliding_window", (False,))
    # transformers 5 moved rope_theta into rope_parameters; rope_scaling is the older name of the same object.
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    _expect({"rope_type": rope.get("rope_type", rope.get("type", "default"))}, "rope_type", ("default",))
    heads = _required(fields, "num_attention_heads")
    hidden = _required(fields, "hidden_size")
    bias = bool(fields.get("attention_bias", False))
    return ModelConfig(
        architecture=model_type,
        vocab_size=_required(fields, "vocab_size"),
        hidden_size=hidden,
        intermediate_size=_required(fields, "intermediate_size"),
        num_layers=_required(fields, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=fields.get("num_key_value_heads") or heads,
        head_dim=fields.get("head_dim") or hidden // heads,
        max_positions=fields.get("max_position_embeddings", 2048),
        norm_eps=fields.get("rms_norm_eps", 1e-6),
        rope_theta=float(rope.get("rope_theta", fields.get("rope_theta", 10000.0))),
        tied_embeddings=bool(fields.get("tie_word_embeddings", False)),
        qkv_bias=model_type == "qwen2" or bias,
        output_bias=model_type == "llama" and bias,
        window=fields.get("sliding_window") if model_type == "mistral" else None,
    )


def _read_gpt2(fields: Mapping[str, Any]) -> ModelConfig:
    _expect(fields, "activation_function", ("gelu_new", "gelu_pytorch_tanh"))
    _expect(fields, "scale_attn_weights", (True,))
    _expect(fields, "scale_attn_by_inverse_layer_idx", (False,))
    hidden = _required(fields, "n_embd")
    heads = _required(fields, "n_head")
    return ModelConfig(
        architecture="gpt2",
        vocab_size=_required(fields, "vocab_size"),
        hidden_size=hidden,
        intermediate_size=fields.get("n_inner") or 4 * hidden,
        num_layers=_required(fields, "n_layer"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hidden // heads,
        max_positions=fields.get("n_positions", 1024),
        norm_eps=fields.get("layer_norm_epsilon", 1e-5),
        tied_embeddings=bool(fields.get("tie_word_embeddings", True)),
        qkv_bias=True,
        output_bias=True,
    )
