"""Writes `decoders/*.onnx`: small decoders with random weights, from unmodified transformers by both torch exporters.

Run it where torch, transformers, onnx, onnxscript and onnxruntime are installed (tests need neither of the first two):

    python export_decoders.py [PATTERN ...]    # of file names without suffix, such as "llama-*"; all without one

Inputs and outputs are named as optimum names them, and dynamic: batch, sequence_length, past_length, encoder_length.
There is a file of each architecture, exporter, attention and dtype but for the attentions that transformers lacks.
"""

import contextlib
import fnmatch
import inspect
import io
import itertools
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.onnx import symbolic_opset13
from transformers.cache_utils import DynamicCache, DynamicLayer, EncoderDecoderCache

FOLDER = Path(__file__).parent / "decoders"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-2}  # onnxruntime against torch, of values up to about 5
# The exporters, each with the opset it is asked for.
EXPORTERS = {"torchscript": 17, "dynamo": 20}
ATTENTIONS = ("eager", "sdpa")
# The combinations that do not exist: transformers has no SDPA for these, whatever the exporter and the dtype. It says
# "ValueError: BloomForCausalLM does not support an attention implementation through
# torch.nn.functional.scaled_dot_product_attention yet", and so on for the others.
NO_SDPA = ("gemma2", "gptj", "bloom", "mpt")
# With a bool mask torchscript's SDPA of fp16 gives fp32, and onnxruntime refuses what follows: "Type parameter (T) of
# Optype (LayerNormalization) bound to different types (tensor(float) and tensor(float16)". These get opset 14, whose
# LayerNormalization is in pieces, which do mix.
LAYER_NORM_AFTER_SDPA = ("gpt2", "gpt_neox", "opt", "starcoder2", "stablelm", "bart", "whisper")
# Spellings that only another opset has: no LayerNormalization before 17, one Attention node from 23 on.
EXTRA = [
    ("llama", "torchscript", 14, "sdpa", "fp32"),
    ("gpt2", "torchscript", 14, "eager", "fp32"),
    ("falcon", "torchscript", 14, "sdpa", "fp16"),
    ("llama", "dynamo", 23, "sdpa", "fp32"),
]


class Architecture(NamedTuple):
    """A decoder's class in transformers, and the sizes that make it small."""

    model: str
    config: dict[str, Any]


TOKENS = {"vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = TOKENS | {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "max_position_embeddings": 64,
}
HALF_ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
GPT2 = TOKENS | {"n_embd": 16, "n_head": 4, "n_inner": 16, "n_layer": 1, "n_positions": 64}
BLOOM = TOKENS | {"hidden_size": 16, "n_head": 4, "n_layer": 1}
MPT = TOKENS | {"d_model": 16, "n_heads": 4, "n_layers": 1, "expansion_ratio": 1, "max_seq_len": 64}
T5 = TOKENS | {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 4, "decoder_start_token_id": 1}
BART = TOKENS | {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 4,
    "decoder_layers": 1,
    "decoder_ffn_dim": 16,
    "decoder_attention_heads": 4,
    "decoder_start_token_id": 1,
}
ARCHITECTURES = {
    "llama": Architecture("LlamaForCausalLM", LLAMA | {"head_dim": 8, "num_hidden_layers": 2}),
    "gpt2": Architecture("GPT2LMHeadModel", GPT2 | {"n_layer": 2}),
    "mistral": Architecture("MistralForCausalLM", LLAMA | {"head_dim": 8, "sliding_window": 4}),
    "qwen2": Architecture("Qwen2ForCausalLM", LLAMA),
    "qwen3": Architecture("Qwen3ForCausalLM", LLAMA | {"head_dim": 8}),
    "phi3": Architecture("Phi3ForCausalLM", LLAMA),
    "gemma": Architecture("GemmaForCausalLM", LLAMA | {"head_dim": 8}),
    "gemma2": Architecture(
        "Gemma2ForCausalLM",
        LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4, "num_hidden_layers": 2},
    ),
    "gpt_neox": Architecture("GPTNeoXForCausalLM", LLAMA | HALF_ROTARY),
    "gptj": Architecture("GPTJForCausalLM", GPT2 | {"rotary_dim": 2}),
    "opt": Architecture("OPTForCausalLM", LLAMA | {"ffn_dim": 16, "word_embed_proj_dim": 16}),
    "bloom": Architecture("BloomForCausalLM", BLOOM),
    "falcon": Architecture("FalconForCausalLM", LLAMA | {"ffn_hidden_size": 16}),
    "mpt": Architecture("MptForCausalLM", MPT),
    "starcoder2": Architecture("Starcoder2ForCausalLM", LLAMA | {"sliding_window": 4}),
    "stablelm": Architecture("StableLmForCausalLM", LLAMA | HALF_ROTARY),
    "granite": Architecture("GraniteForCausalLM", LLAMA | {"attention_multiplier": 0.25, "residual_multiplier": 0.5}),
    "olmo2": Architecture("Olmo2ForCausalLM", LLAMA),
    "smollm3": Architecture("SmolLM3ForCausalLM", LLAMA | {"num_hidden_layers": 2, "no_rope_layers": [1, 0]}),
    "glm": Architecture("GlmForCausalLM", LLAMA | {"head_dim": 8}),
    "cohere": Architecture("CohereForCausalLM", LLAMA),
    "t5": Architecture("T5ForConditionalGeneration", T5),
    "bart": Architecture("BartForConditionalGeneration", BART | {"max_position_embeddings": 64}),
    "whisper": Architecture(
        "WhisperForConditionalGeneration", BART | {"max_target_positions": 64, "max_source_positions": 8}
    ),
}


def random_model(architecture: Architecture, attention: str, dtype: torch.dtype) -> transformers.PreTrainedModel:
    """The decoder with weights large enough for an attention that is not uniform."""
    kind = getattr(transformers, architecture.model)
    config = kind.config_class(**architecture.config)
    model = kind._from_config(config, attn_implementation=attention).eval()
    random = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.ndim == 1:  # the weight of a norm, which is about 1, or a bias
                parameter += 0.1 * noise
            else:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
    return model.to(dtype)


def filled(tensors: Sequence[torch.Tensor]) -> DynamicCache:
    """A cache of key, value, key, value, ...; set directly, for `update` would concatenate them with empty tensors."""
    cache = DynamicCache()
    for key, value in zip(tensors[::2], tensors[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def drained(cache: DynamicCache) -> tuple[torch.Tensor, ...]:
    return tuple(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))


class Port(NamedTuple):
    """An input: its name, its dimensions (a name: dynamic) and its type (None: the model's)."""

    name: str
    shape: tuple[str | int, ...]
    dtype: torch.dtype | None = torch.int64


INPUT_IDS = Port("input_ids", ("batch", "sequence_length"))


class Decoder(torch.nn.Module):
    """A decoder whose cache goes in and out as tensors of shape (batch, kv heads, length, head size)."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.inputs = [INPUT_IDS, Port("attention_mask", ("batch", "total_length"))]
        if "position_ids" in inspect.signature(model.forward).parameters:
            self.inputs.append(Port("position_ids", ("batch", "sequence_length")))
        self.past = [
            Port(f"past_key_values.{layer}.{part}", past_shape(model), None)
            for layer in range(model.config.num_hidden_layers)
            for part in ("key", "value")
        ]
        self.present = [port.name.replace("past_key_values", "present") for port in self.past]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arguments = {port.name: tensor for port, tensor in zip(self.inputs, tensors, strict=False)}
        cache = filled(tensors[len(self.inputs) :])
        return self.model(**arguments, past_key_values=cache, use_cache=True).logits, *drained(cache)


class Seq2SeqDecoder(torch.nn.Module):
    """A decoder of one layer that also attends to an encoder, whose keys and values come in beside its own."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.inputs = [INPUT_IDS]
        if model.config.model_type != "whisper":  # whose encoder knows no padding
            self.inputs.append(Port("encoder_attention_mask", ("batch", "encoder_length")))
        batch, heads, _, size = past_shape(model)
        self.past = [
            Port(f"past_key_values.0.{whose}.{part}", (batch, heads, length, size), None)
            for whose, length in (("decoder", "past_length"), ("encoder", "encoder_length"))
            for part in ("key", "value")
        ]
        self.present = ["present.0.decoder.key", "present.0.decoder.value"]

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        input_ids, *mask, key, value, encoder_key, encoder_value = tensors
        own = filled([key, value])
        cache = EncoderDecoderCache(own, filled([encoder_key, encoder_value]))
        # Of the encoder's states only the shape is looked at when its keys and values are in the cache.
        states = encoder_key.new_zeros(encoder_key.shape[0], encoder_key.shape[2], self.model.config.d_model)
        output = self.model(
            decoder_input_ids=input_ids,
            attention_mask=mask[0] if mask else None,
            encoder_outputs=(states,),
            past_key_values=cache,
            use_cache=True,
        )
        return output.logits, *drained(own)


def past_shape(model: transformers.PreTrainedModel) -> tuple[str | int, ...]:
    """The shape of a cached key, as the model itself writes it."""
    token = torch.ones(1, 1, dtype=torch.int64)
    if model.config.is_encoder_decoder:
        states = torch.zeros(1, 1, model.config.d_model, dtype=model.dtype)
        cache = model(decoder_input_ids=token, encoder_outputs=(states,)).past_key_values.self_attention_cache
    else:
        cache = model(token, use_cache=True).past_key_values
    _, heads, _, size = cache.layers[0].keys.shape
    return "batch", heads, "past_length", size


def example(ports: list[Port], lengths: dict[str, int], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Inputs of the given lengths: a first row without padding, a second (of two) with its first position masked."""
    random = torch.Generator().manual_seed(7)
    tensors = []
    for port in ports:
        shape = [lengths.get(dimension, dimension) for dimension in port.shape]
        if port.name.endswith("attention_mask"):
            tensor = torch.ones(shape, dtype=port.dtype)
            tensor[1:, 0] = 0
        elif port.name == "position_ids":
            tensor = torch.arange(lengths["past_length"], lengths["total_length"]).expand(shape).contiguous()
        elif port.dtype:
            tensor = torch.randint(3, 32, shape, generator=random)
        else:
            tensor = torch.randn(shape, generator=random).to(dtype)
        tensors.append(tensor)
    return tuple(tensors)


# Without these torch.export says of MPT's bias, sliced by a length that is 1 or more only where the past is:
# "Eq(s85 + Max(0, -s67 - 2*s85 + 1), 1) is inconsistent!"
DYNAMO_SIZES = {("mpt", "past_length"): torch.export.Dim("past_length", min=1)}


def repeat_interleave(
    graph: Any, tensor: torch.Value, repeats: torch.Value, dim: torch.Value, output_size: torch.Value
) -> torch.Value:
    """The exporter's own, given a copy of `dim`: it adds the rank in place, to a constant that other nodes share.

    Cohere's and GLM's rotation then stacks along a wrong axis: "All tensors must have the same rank".
    """
    own = graph.op("Constant", value_t=dim.node().t("value").clone())
    return symbolic_opset13.repeat_interleave(graph, tensor, repeats, own, output_size)


def exported(decoder: Decoder | Seq2SeqDecoder, exporter: str, opset: int) -> onnx.ModelProto:
    """What the exporter makes of it, of which only the traces of the exporter's own source lines are taken away."""
    ports = decoder.inputs + decoder.past
    axes = {port.name: {i: dim for i, dim in enumerate(port.shape) if isinstance(dim, str)} for port in ports}
    lengths = {"batch": 2, "sequence_length": 3, "past_length": 5, "total_length": 8, "encoder_length": 6}
    arguments = example(ports, lengths, decoder.model.dtype)
    kind = decoder.model.config.model_type
    options: dict[str, Any] = {
        "input_names": list(axes),
        "output_names": ["logits", *decoder.present],
        "opset_version": opset,
    }
    if exporter == "dynamo":
        shapes = tuple({i: DYNAMO_SIZES.get((kind, dim), dim) for i, dim in sizes.items()} for sizes in axes.values())
        options |= {"dynamic_shapes": (shapes,), "verbose": False}
        # The CPU's flash attention, which T5's float mask selects, gives strides that the exporter does not expect:
        # "Cannot view a tensor with shape torch.Size([s14, s85, 4, 8]) and strides (32*s85, 8, 8*s85, 1)".
        with sdpa_kernel(SDPBackend.MATH) if kind == "t5" else contextlib.nullcontext():
            model = torch.onnx.export(decoder, arguments, dynamo=True, **options).model_proto
    else:
        axes["logits"] = axes["input_ids"]
        axes |= {name: {0: "batch", 2: "total_length"} for name in decoder.present}
        stream = io.BytesIO()
        torch.onnx.export(decoder, arguments, stream, dynamo=False, dynamic_axes=axes, **options)
        model = onnx.load_from_string(stream.getvalue())
    forget_sources(model)
    return model


def forget_sources(message: Any) -> None:
    """Clears `doc_string` and `metadata_props` of the model and of all in it."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type and field.name != "initializer":
            for item in value if field.is_repeated else [value]:
                forget_sources(item)


def check(model: onnx.ModelProto, decoder: Decoder | Seq2SeqDecoder) -> float:
    """The largest difference of onnxruntime from torch in a step of one token, for one and for two sequences."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ports = decoder.inputs + decoder.past
    worst = 0.0
    for batch in (1, 2):
        lengths = {"batch": batch, "sequence_length": 1, "past_length": 5, "total_length": 6, "encoder_length": 7}
        arguments = example(ports, lengths, decoder.model.dtype)
        with torch.no_grad():
            wanted = decoder(*arguments)
        got = session.run(None, {port.name: tensor.numpy() for port, tensor in zip(ports, arguments, strict=True)})
        assert all(np.isfinite(array).all() for array in got)
        for mine, theirs in zip(got, wanted, strict=True):
            assert mine.shape == tuple(theirs.shape), (mine.shape, theirs.shape)
            worst = max(worst, np.abs(mine.astype(np.float64) - theirs.double().numpy()).max())
    return worst


def variants() -> Iterator[tuple[str, str, int, str, str]]:
    """Architecture, exporter, opset, attention and dtype of each file."""
    for exporter, name, attention, dtype in itertools.product(EXPORTERS, ARCHITECTURES, ATTENTIONS, DTYPES):
        if attention == "sdpa" and name in NO_SDPA:
            continue
        mixed = (exporter, attention, dtype) == ("torchscript", "sdpa", "fp16") and name in LAYER_NORM_AFTER_SDPA
        yield name, exporter, 14 if mixed else EXPORTERS[exporter], attention, dtype
    yield from EXTRA


def write(name: str, exporter: str, opset: int, attention: str, dtype: str, path: Path) -> None:
    model = random_model(ARCHITECTURES[name], attention, DTYPES[dtype])
    decoder = (Seq2SeqDecoder if model.config.is_encoder_decoder else Decoder)(model).eval()
    proto = exported(decoder, exporter, opset)
    difference = check(proto, decoder)
    if difference > TOLERANCES[dtype]:
        raise ValueError(f"differs from torch by {difference:.1e}")
    onnx.save(proto, path)
    print(f"{path.name}: {path.stat().st_size} bytes, {difference:.1e} from torch", flush=True)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    torch.onnx.register_custom_op_symbolic("aten::repeat_interleave", repeat_interleave, 13)
    for name, exporter, opset, attention, dtype in variants():
        stem = f"{name}-{exporter}{opset}-{attention}-{dtype}"
        if any(fnmatch.fnmatch(stem, pattern) for pattern in sys.argv[1:] or ["*"]):
            write(name, exporter, opset, attention, dtype, FOLDER / f"{stem}.onnx")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    main()
