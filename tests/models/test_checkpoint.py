import json
import re

import gguf
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from models.checkpoint import read_checkpoint, write_checkpoint
from models.config import PRESETS

TINY = [preset for preset in PRESETS if preset.startswith("tiny-")]
GGUF_LLAMA = {
    "embed_tokens": "token_embd",
    "lm_head": "output",
    "norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GGUF_GPT2 = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


# The first block in a state dict of transformers 5.23: its prefix, and the names in it.
BLOCKS = {
    "tiny-falcon": (
        "transformer.h.0.",
        """input_layernorm.bias input_layernorm.weight mlp.dense_4h_to_h.weight mlp.dense_h_to_4h.weight
        self_attention.dense.weight self_attention.query_key_value.weight""",
    ),
    "tiny-falcon-40b": (
        "transformer.h.0.",
        """ln_attn.bias ln_attn.weight ln_mlp.bias ln_mlp.weight mlp.dense_4h_to_h.weight mlp.dense_h_to_4h.weight
        self_attention.dense.weight self_attention.query_key_value.weight""",
    ),
    "tiny-qwen3": (
        "model.layers.0.",
        """input_layernorm.weight mlp.down_proj.weight mlp.gate_proj.weight mlp.up_proj.weight
        post_attention_layernorm.weight self_attn.k_norm.weight self_attn.k_proj.weight self_attn.o_proj.weight
        self_attn.q_norm.weight self_attn.q_proj.weight self_attn.v_proj.weight""",
    ),
    "tiny-gemma": (
        "model.layers.0.",
        """input_layernorm.weight mlp.down_proj.weight mlp.gate_proj.weight mlp.up_proj.weight
        post_attention_layernorm.weight self_attn.k_proj.weight self_attn.o_proj.weight self_attn.q_proj.weight
        self_attn.v_proj.weight""",
    ),
    "tiny-gptj": (
        "transformer.h.0.",
        """attn.k_proj.weight attn.out_proj.weight attn.q_proj.weight attn.v_proj.weight ln_1.bias ln_1.weight
        mlp.fc_in.bias mlp.fc_in.weight mlp.fc_out.bias mlp.fc_out.weight""",
    ),
    "tiny-bloom": (
        "transformer.h.0.",
        """input_layernorm.bias input_layernorm.weight mlp.dense_4h_to_h.bias mlp.dense_4h_to_h.weight
        mlp.dense_h_to_4h.bias mlp.dense_h_to_4h.weight post_attention_layernorm.bias post_attention_layernorm.weight
        self_attention.dense.bias self_attention.dense.weight self_attention.query_key_value.bias
        self_attention.query_key_value.weight""",
    ),
    "tiny-t5": (
        "decoder.block.0.layer.",
        """0.SelfAttention.k.weight 0.SelfAttention.o.weight 0.SelfAttention.q.weight
        0.SelfAttention.relative_attention_bias.weight 0.SelfAttention.v.weight 0.layer_norm.weight
        1.EncDecAttention.k.weight 1.EncDecAttention.o.weight 1.EncDecAttention.q.weight 1.EncDecAttention.v.weight
        1.layer_norm.weight 2.DenseReluDense.wi.weight 2.DenseReluDense.wo.weight 2.layer_norm.weight""",
    ),
}
ENDS = {
    "tiny-falcon": "transformer.word_embeddings.weight transformer.ln_f.weight transformer.ln_f.bias",
    "tiny-gptj": "transformer.wte.weight transformer.ln_f.weight transformer.ln_f.bias lm_head.weight lm_head.bias",
    "tiny-bloom": """transformer.word_embeddings.weight transformer.word_embeddings_layernorm.weight
        transformer.word_embeddings_layernorm.bias transformer.ln_f.weight transformer.ln_f.bias""",
    "tiny-t5": "shared.weight decoder.final_layer_norm.weight",
    "tiny-t5-gated": "shared.weight decoder.final_layer_norm.weight lm_head.weight",
}


def huggingface(config, weights):
    """The names and layouts that Hugging Face writes, with tensors in checkpoints that are not weights here."""
    stacks = {"gpt2": "", "falcon": "transformer.", "gptj": "transformer.", "bloom": "transformer.", "t5": "decoder."}
    stack = stacks.get(config.architecture, "model.")
    blocks = {"model.": "layers.", "decoder.": "block."}.get(stack, "h.")
    named = {}
    for name, array in weights.items():
        if config.architecture == "gpt2" and ".c_" in name and name.endswith(".weight"):
            array = np.ascontiguousarray(array.T)
        if name == "relative_attention_bias.weight":
            name = f"layers.0.layer.0.SelfAttention.{name}"
        elif name.startswith(("lm_head.", "shared.")):
            named[name] = array
            continue
        named[stack + (name.replace("layers.", blocks, 1) if name.startswith("layers.") else name)] = array
    return named | {name: np.ones((1, 4), np.float32) for name in NOT_WEIGHTS.get(config.architecture, ())}


NOT_WEIGHTS = {
    "llama": ("model.layers.0.self_attn.rotary_emb.inv_freq",),
    "gpt2": ("h.0.attn.bias",),
    "gptj": ("transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"),
    "t5": (
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.embed_tokens.weight",
        "encoder.final_layer_norm.weight",
        "decoder.embed_tokens.weight",
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    ),
}


def write_gguf(path, config, weights, permute):
    names = GGUF_GPT2 if config.architecture == "gpt2" else GGUF_LLAMA
    writer = gguf.GGUFWriter(path, config.architecture)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_layer_norm_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    for name, array in weights.items():
        stem, _, kind = name.rpartition(".")
        layer, stem = ("blk." + stem.split(".")[1] + ".", stem.split(".", 2)[2]) if "layers" in stem else ("", stem)
        if permute and stem in ("self_attn.q_proj", "self_attn.k_proj"):
            # As llama.cpp's converter: halves of a head become neighbouring rows.
            heads = len(array) // config.head_dim
            array = array.reshape(heads, 2, config.head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(f"{layer}{names[stem]}.{kind}", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("preset", TINY)
def test_written_checkpoint_reads_back(preset, tmp_path, weights_of):
    path = write_checkpoint(tmp_path / "new", PRESETS[preset], weights_of(preset))
    for source in (path, path.parent):
        config, weights = read_checkpoint(source)
        assert config == PRESETS[preset]
        assert_same(weights, weights_of(preset))
    assert sorted(p.name for p in path.parent.iterdir()) == ["config.json", "model.ckpt"]


def test_failed_write_leaves_the_old_checkpoint(tmp_path, weights_of, monkeypatch):
    import mindspore as ms

    path = write_checkpoint(tmp_path, PRESETS["tiny-llama"], weights_of("tiny-llama"))
    before = path.read_bytes()

    def broken(_, file):
        with open(file, "wb") as half:
            half.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(ms, "save_checkpoint", broken)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path, PRESETS["tiny-llama"], weights_of("tiny-llama"))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.ckpt"]


@pytest.mark.parametrize("preset", BLOCKS)
def test_tensors_of_a_block_are_those_of_huggingface(preset, weights_of):
    prefix, names = BLOCKS[preset]
    config = PRESETS[preset]
    written = set(huggingface(config, weights_of(preset))) - set(NOT_WEIGHTS.get(config.architecture, ()))
    assert {name.removeprefix(prefix) for name in written if name.startswith(prefix)} == set(names.split())


@pytest.mark.parametrize("preset", ENDS)
def test_tensors_around_the_blocks_are_those_of_huggingface(preset, weights_of):
    config = PRESETS[preset]
    written = set(huggingface(config, weights_of(preset))) - set(NOT_WEIGHTS.get(config.architecture, ()))
    assert {name for name in written if not re.search(r"\.(h|block)\.", name)} == set(ENDS[preset].split())


@pytest.mark.parametrize("preset", TINY)
def test_huggingface_folder_in_shards(preset, tmp_path, weights_of):
    config, tensors = PRESETS[preset], huggingface(PRESETS[preset], weights_of(preset))
    (tmp_path / "config.json").write_text(json.dumps(config.to_huggingface()))
    names, places = sorted(tensors), {}
    for shard, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, tmp_path / f"model-{shard}.safetensors")
        places |= dict.fromkeys(part, f"model-{shard}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    read, weights = read_checkpoint(tmp_path)
    assert read == config
    assert_same(weights, weights_of(preset))


def test_single_safetensors_file_in_bfloat16(tmp_path, weights_of):
    config, weights = PRESETS["tiny-llama"], weights_of("tiny-llama")
    (tmp_path / "config.json").write_text(json.dumps(config.to_huggingface()))
    narrow = {name: array.astype(ml_dtypes.bfloat16) for name, array in weights.items()}
    save_file(huggingface(config, narrow), tmp_path / "model.safetensors")
    _, read = read_checkpoint(tmp_path / "model.safetensors")
    assert_same(read, {name: array.astype(np.float32) for name, array in narrow.items()})


def test_mindspore_safetensors(tmp_path, weights_of):
    import mindspore as ms

    config, weights = PRESETS["tiny-gpt2"], weights_of("tiny-gpt2")
    (tmp_path / "config.json").write_text(json.dumps(config.to_huggingface()))
    entries = [{"name": name, "data": ms.Tensor(array)} for name, array in weights.items()]
    ms.save_checkpoint(entries, str(tmp_path / "model.safetensors"), format="safetensors")
    assert_same(read_checkpoint(tmp_path)[1], weights)


@pytest.mark.parametrize(("preset", "permute"), [("tiny-llama", True), ("tiny-qwen2", False), ("tiny-gpt2", False)])
def test_gguf(preset, permute, tmp_path, weights_of):
    config = PRESETS[preset]
    write_gguf(tmp_path / "model.gguf", config, weights_of(preset), permute)
    read, weights = read_checkpoint(tmp_path / "model.gguf")
    assert read == config
    assert_same(weights, weights_of(preset))


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_index_without_a_map_is_named(content, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match="holds no weight_map"):
        read_checkpoint(tmp_path)


def test_missing_shard_is_named(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "part-1.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"lacks 'part-1\.safetensors'"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.gguf"])
@pytest.mark.parametrize("content", [b"", b"12345", b"\xff" * 64])
def test_damaged_file_is_named(name, content, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(PRESETS["tiny-llama"].to_huggingface()))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_checkpoint(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_checkpoint(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "config.json").write_text(json.dumps(PRESETS["tiny-llama"].to_huggingface()))
    with pytest.raises(ValueError, match=r"ends in '.bin'"):
        read_checkpoint(tmp_path / "model.bin")


def test_unknown_gguf_architecture(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.add_tensor("a.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"general\.architecture is 'mamba'"):
        read_checkpoint(tmp_path / "model.gguf")
