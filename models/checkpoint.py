"""Read a language model's checkpoint in any of the usual formats; write it as a MindSpore checkpoint.

`read_checkpoint` takes a folder or a file: MindSpore `.ckpt` and `.safetensors`, Hugging Face `*.safetensors`
with its config.json (sharded or not), and GGUF. The result is a `ModelConfig` and NumPy arrays under the
names of the models here.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .config import ModelConfig
from .huggingface import weight_name

CHECKPOINT_FILE = "model.ckpt"
CONFIG_FILE = "config.json"
Weights = dict[str, np.ndarray]

_GPT2_CONV1D = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
_GGUF_NAMES = {
    "llama": {
        "token_embd": "embed_tokens",
        "output_norm": "norm",
        "output": "lm_head",
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    },
    "gpt2": {
        "token_embd": "wte",
        "position_embd": "wpe",
        "output_norm": "ln_f",
        "output": "lm_head",
        "attn_norm": "ln_1",
        "attn_qkv": "attn.c_attn",
        "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc",
        "ffn_down": "mlp.c_proj",
    },
}


def read_checkpoint(path: str | Path) -> tuple[ModelConfig, Weights]:
    """Read a checkpoint folder or file; the format follows from the names found.

    A `.ckpt` or `.safetensors` needs a config.json beside it. Raises FileNotFoundError when something is not
    there and ValueError when it is not a checkpoint of a model that is known.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist; it must be a folder or a file")
    if path.suffix == ".gguf":
        return _read_gguf(path)
    files = _weight_files(path) if path.is_dir() else [path]
    if files[0].suffix == ".gguf":
        return _read_gguf(files[0])
    config = ModelConfig.from_file(files[0].parent / CONFIG_FILE)
    weights: Weights = {}
    for file in files:
        weights.update(_read_file(file))
    return config, _from_huggingface(weights, config)


def write_checkpoint(folder: str | Path, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> Path:
    """Write `model.ckpt` and config.json into `folder`, each beside its place first and then renamed.

    The checkpoint comes last: where it is, it is whole. Returns its path.
    """
    import mindspore as ms

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / CONFIG_FILE) as file:
        file.write_text(json.dumps(config.to_huggingface(), indent=2) + "\n", encoding="utf-8")
    with replacing(folder / CHECKPOINT_FILE) as file:
        ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in weights.items()], str(file))
    return folder / CHECKPOINT_FILE


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write to; at the end, move what was written over `target`."""
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as scratch:
        written = Path(scratch) / target.name
        yield written
        os.replace(written, target)


def _weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint folder, in the order of preference."""
    index = folder / "model.safetensors.index.json"
    if (folder / CHECKPOINT_FILE).is_file():
        return [folder / CHECKPOINT_FILE]
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"checkpoint index {str(index)!r} holds no weight_map") from error
        absent = [name for name in shards if not (folder / name).is_file()]
        if absent:
            raise FileNotFoundError(f"checkpoint {str(folder)!r} lacks {absent[0]!r}, which {index.name} names")
        return [folder / name for name in shards]
    for suffix in (".safetensors", ".ckpt", ".gguf"):
        found = sorted(folder.glob(f"*{suffix}"))
        if found:
            return found if suffix == ".safetensors" else found[:1]
    raise FileNotFoundError(
        f"checkpoint {str(folder)!r} holds no weights; it must hold *.ckpt, *.safetensors or *.gguf"
    )


def _read_file(path: Path) -> Weights:
    readers: dict[str, Callable[[Path], Weights]] = {
        ".ckpt": _read_mindspore,
        ".safetensors": _read_safetensors,
    }
    if path.suffix not in readers:
        raise ValueError(f"checkpoint {str(path)!r} ends in {path.suffix!r}; it must be .ckpt, .safetensors or .gguf")
    return readers[path.suffix](path)


def _read_mindspore(path: Path) -> Weights:
    import mindspore as ms

    try:
        parameters = ms.load_checkpoint(str(path))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"checkpoint {str(path)!r} is not a MindSpore checkpoint") from error
    return {name: (p.float() if p.dtype == ms.bfloat16 else p).asnumpy() for name, p in parameters.items()}


def _read_safetensors(path: Path) -> Weights:
    """The arrays of a .safetensors file; bf16 becomes fp32."""
    try:
        import ml_dtypes  # noqa: F401 - teaches NumPy the name bfloat16
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            "reading safetensors needs the packages safetensors and ml_dtypes: pip install 'ifa-fusion[models]'"
        ) from error
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"checkpoint {str(path)!r} is not a safetensors file: {error}") from error
    return {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array for name, array in weights.items()
    }


def _from_huggingface(weights: Weights, config: ModelConfig) -> Weights:
    """Rename from Hugging Face; names that are already those of the models here pass unchanged."""
    renamed = {}
    for name, array in weights.items():
        short = weight_name(config.architecture, name)
        if short is None or (short == "lm_head.weight" and config.tied_embeddings):
            continue
        # Only Hugging Face's GPT-2 has projections that are (in, out).
        is_conv1d = config.architecture == "gpt2" and short != name and _GPT2_CONV1D.search(short)
        renamed[short] = array.T if is_conv1d else array
    return renamed


def _read_gguf(path: Path) -> tuple[ModelConfig, Weights]:
    gguf = import_gguf()
    try:
        reader = gguf.GGUFReader(path)
    except ValueError as error:
        raise ValueError(f"checkpoint {str(path)!r} is not a GGUF file") from error
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    names = {tensor.name for tensor in reader.tensors}
    config = _gguf_config(fields, names, {t.name: tuple(map(int, t.shape)) for t in reader.tensors})
    weights: Weights = {}
    for tensor in reader.tensors:
        name = _gguf_name(tensor.name, "gpt2" if config.architecture == "gpt2" else "llama")
        if name == "lm_head.weight" and config.tied_embeddings:
            continue
        array = gguf.dequantize(tensor.data, tensor.tensor_type)
        if fields["general.architecture"] == "llama":
            array = _unpermute(name, array, config)
        weights[name] = array
    return config, weights


def import_gguf() -> ModuleType:
    """The `gguf` package, or an ImportError that says how to get it."""
    try:
        import gguf
    except ImportError as error:
        raise ImportError("reading GGUF needs the package gguf: pip install 'ifa-fusion[models]'") from error
    return gguf


def _gguf_config(fields: Mapping, names: set[str], shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """The configuration in a GGUF header. Shapes are GGUF's: the innermost dimension first."""
    architecture = fields.get("general.architecture")
    if architecture not in ("llama", "qwen2", "gpt2"):
        raise ValueError(f"general.architecture is {architecture!r}; it must be one of llama, qwen2, gpt2")
    if "rope_freqs.weight" in names or fields.get(f"{architecture}.rope.scaling.type", "none") != "none":
        raise ValueError("the GGUF file scales its rotary positions; the models here do not")

    def get(key: str, default: Any = None) -> Any:
        value = fields.get(f"{architecture}.{key}", default)
        if value is None:
            raise ValueError(f"GGUF field {architecture}.{key!r} is missing")
        return value

    if "token_embd.weight" not in shapes:
        raise ValueError("the GGUF file has no tensor 'token_embd.weight'")
    heads, hidden = get("attention.head_count"), get("embedding_length")
    is_gpt2 = architecture == "gpt2"
    epsilon = get("attention.layer_norm_epsilon" if is_gpt2 else "attention.layer_norm_rms_epsilon")
    window = fields.get(f"{architecture}.attention.sliding_window")
    return ModelConfig(
        architecture="mistral" if architecture == "llama" and window else architecture,
        vocab_size=shapes["token_embd.weight"][1],
        hidden_size=hidden,
        intermediate_size=get("feed_forward_length"),
        num_layers=get("block_count"),
        num_heads=heads,
        num_kv_heads=get("attention.head_count_kv", heads),
        head_dim=get("attention.key_length", hidden // heads),
        max_positions=get("context_length"),
        # GGUF stores fp32; the nearest short decimal is what the model was made with.
        norm_eps=float(f"{epsilon:.6g}"),
        rope_theta=10000.0 if is_gpt2 else float(get("rope.freq_base", 10000.0)),
        tied_embeddings="output.weight" not in names,
        qkv_bias=is_gpt2 or "blk.0.attn_q.bias" in names,
        output_bias=is_gpt2 or "blk.0.attn_output.bias" in names,
        window=window or None,
    )


def _gguf_name(name: str, family: str) -> str:
    """`blk.3.attn_q.weight` to `layers.3.self_attn.q_proj.weight`."""
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in _GGUF_NAMES[family]:
        raise ValueError(f"GGUF tensor {name!r} belongs to no model that is known")
    layer = f"layers.{match[1]}." if match[1] else ""
    return f"{layer}{_GGUF_NAMES[family][match[2]]}.{match[3]}"


def _unpermute(name: str, array: np.ndarray, config: ModelConfig) -> np.ndarray:
    """From neighbouring channels turning together, as in GGUF's llama, to channel i with i + D/2."""
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}.get(name.rpartition(".")[0].rpartition(".")[2])
    if heads is None:
        return array
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)
