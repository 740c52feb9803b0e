"""What a decoder model looks like: sizes and switches, read from a Hugging Face config.json.

Knows nothing of MindSpore; every model class and the checkpoint loader are built from a `ModelConfig`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .huggingface import FAMILIES, read_fields, write_fields

ARCHITECTURES = tuple(FAMILIES)
_WITHOUT_ROTATION = ("gpt2", "bloom", "t5")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one decoder.

    `architecture` is one of `ARCHITECTURES`. `window` is the sliding window in tokens, or None for full
    attention. `qkv_bias` and `output_bias` say whether the attention projections carry a bias. `rotary_dim` is how
    many channels of a head turn with the position, or None for all. `mlp_norm` (Falcon) says whether the MLP has a
    norm of its own. `relative_buckets` and `relative_distance` (T5) are the number of biases and the distance from
    which on all share the last; `gated_mlp` says whether the MLP has a gate, and `scaled_head` whether the head's input
    is divided by the root of hidden_size.
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
    rotary_dim: int | None = None
    mlp_norm: bool = False
    relative_buckets: int = 32
    relative_distance: int = 128
    gated_mlp: bool = False
    scaled_head: bool = False

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
        self._check_positions()
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window}; it must be None or a positive integer")

    def _check_positions(self) -> None:
        if self.architecture not in _WITHOUT_ROTATION and self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; rotary embedding needs an even number")
        if self.rotary_dim is not None and (self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.head_dim):
            raise ValueError(f"rotary_dim is {self.rotary_dim}; it must be even and at most head_dim, {self.head_dim}")
        if self.relative_buckets < 2 or self.relative_distance <= self.relative_buckets // 2:
            raise ValueError(
                f"relative_buckets is {self.relative_buckets} and relative_distance is {self.relative_distance}; "
                "there must be two buckets at least, and the distance must be above half their number"
            )

    @property
    def group_size(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def reads_encoder(self) -> bool:
        """Whether each layer also attends to the output of an encoder."""
        return self.architecture == "t5"

    @property
    def num_attentions(self) -> int:
        """Attentions in one step."""
        return self.num_layers * (2 if self.reads_encoder else 1)

    @classmethod
    def from_huggingface(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """Read the fields of a Hugging Face config.json.

        Raises ValueError for an unknown `model_type`, a missing field, or a feature the models do not have.
        """
        return cls(**read_fields(fields))

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
        return write_fields(dataclasses.asdict(self))


PRESETS: dict[str, ModelConfig] = {
    "tiny-llama": ModelConfig("llama", 128, 64, 96, 2, 4, 2, 16, 128, 1e-5, tied_embeddings=True),
    "tiny-mistral": ModelConfig("mistral", 128, 64, 96, 2, 4, 2, 16, 128, 1e-5, window=8),
    "tiny-qwen2": ModelConfig("qwen2", 128, 64, 96, 2, 4, 2, 16, 128, 1e-6, qkv_bias=True),
    "tiny-gpt2": ModelConfig(
        "gpt2", 128, 64, 256, 2, 4, 4, 16, 128, 1e-5, tied_embeddings=True, qkv_bias=True, output_bias=True
    ),
    "tiny-falcon": ModelConfig("falcon", 128, 64, 256, 2, 4, 1, 16, 128, 1e-5, tied_embeddings=True),
    "tiny-falcon-40b": ModelConfig("falcon", 128, 64, 256, 2, 4, 2, 16, 128, 1e-5, tied_embeddings=True, mlp_norm=True),
    "tiny-qwen3": ModelConfig("qwen3", 128, 64, 96, 2, 4, 2, 32, 128, 1e-6, rope_theta=1e6),
    "tiny-gemma": ModelConfig("gemma", 128, 64, 96, 2, 4, 1, 32, 128, 1e-6, tied_embeddings=True),
    "tiny-gptj": ModelConfig("gptj", 128, 64, 256, 2, 4, 4, 16, 128, 1e-5, rotary_dim=8),
    "tiny-bloom": ModelConfig(
        "bloom", 128, 96, 384, 2, 6, 6, 16, 128, 1e-5, tied_embeddings=True, qkv_bias=True, output_bias=True
    ),
    "tiny-t5": ModelConfig(
        "t5",
        128,
        48,
        96,
        2,
        4,
        4,
        16,
        128,
        1e-6,
        tied_embeddings=True,
        relative_buckets=8,
        relative_distance=16,
        scaled_head=True,
    ),
    "tiny-t5-gated": ModelConfig("t5", 128, 48, 96, 2, 4, 4, 16, 128, 1e-6, gated_mlp=True),
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
