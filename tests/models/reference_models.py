"""The models over a whole sequence in float64 NumPy, written from their definitions."""

import functools

import numpy as np


def reference_logits(config, weights, tokens, encoded=None):
    """Logits (T, vocab_size) for tokens (T,), every token attending to those before it and to itself.

    `encoded`: the encoder's output, (M, hidden_size), for a model that reads one.
    """
    model = Weights(config, {name: np.asarray(array, np.float64) for name, array in weights.items()})
    if config.reads_encoder:
        return _t5(config, model, np.asarray(tokens), encoded.astype(np.float64))
    return _MODELS[config.architecture](config, model, np.asarray(tokens))


class Weights:
    """The weights below a prefix, as the functions that they take part in."""

    def __init__(self, config, arrays, prefix=""):
        self.config, self.arrays, self.prefix = config, arrays, prefix

    def layers(self):
        return [Weights(self.config, self.arrays, f"layers.{index}.") for index in range(self.config.num_layers)]

    def __getitem__(self, name):
        return self.arrays[self.prefix + name]

    def linear(self, x, name):
        return x @ self[f"{name}.weight"].T + self.arrays.get(f"{self.prefix}{name}.bias", 0.0)

    def rms_norm(self, x, name, plus=0.0):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config.norm_eps) * (plus + self[f"{name}.weight"])

    def layer_norm(self, x, name):
        normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + self.config.norm_eps)
        return normed * self[f"{name}.weight"] + self[f"{name}.bias"]

    def head(self, x, embedding):
        return self.linear(x, embedding if self.config.tied_embeddings else "lm_head")


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _attention(config, q, k, v, bias=0.0):
    """q: (T, N, D); k, v: (T, kvN, D); bias: (N, T, T) on the scaled scores -> (T, N * D)."""
    t, s = np.indices((len(q), len(q)))
    hidden = s > t
    if config.window is not None:
        hidden |= s <= t - config.window
    return _attend(q, k, v, np.where(hidden, -np.inf, bias), config.head_dim**-0.5)


def _attend(q, k, v, bias, scale):
    """q: (T, N, D); k, v: (S, kvN, D); bias: (T, S) or (N, T, S) -> (T, N * D)."""
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = np.einsum("tnd,snd->nts", q, k) * scale + bias
    return np.einsum("nts,snd->tnd", _softmax(scores), v).reshape(len(q), -1)


def _turns(config, steps, channels):
    """What position t multiplies pair i with, as complex numbers (T, 1, channels / 2)."""
    pairs = np.arange(channels // 2)
    return np.exp(1j * np.arange(steps)[:, None] * config.rope_theta ** (-2 * pairs / channels))[:, None]


def _rotate(config, x):
    half = config.head_dim // 2
    turned = (x[..., :half] + 1j * x[..., half:]) * _turns(config, len(x), config.head_dim)
    return np.concatenate((turned.real, turned.imag), -1)


def _rotate_neighbours(config, x):
    channels = config.rotary_dim or config.head_dim
    turned = (x[..., 0:channels:2] + 1j * x[..., 1:channels:2]) * _turns(config, len(x), channels)
    return np.concatenate((np.stack((turned.real, turned.imag), -1).reshape(*x.shape[:2], -1), x[..., channels:]), -1)


def _tanh_gelu(x):
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _gelu(x):
    """X times the normal distribution function, by integrating the density from 0 to x."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    half = x[..., None] / 2
    density = np.exp(-((half * (1 + nodes)) ** 2) / 2) / np.sqrt(2 * np.pi)
    return x * (0.5 + (density * half) @ weights)


def _silu(x):
    return x / (1 + np.exp(-x))


def _llama(config, model, tokens, *, activation=_silu, plus=0.0, head_norm=False, scale=1.0):
    def heads(x, name):
        x = x.reshape(len(x), -1, config.head_dim)
        return layer.rms_norm(x, f"self_attn.{name}_norm") if head_norm and name != "v" else x

    x = model["embed_tokens.weight"][tokens] * scale
    for layer in model.layers():
        h = layer.rms_norm(x, "input_layernorm", plus)
        q, k, v = (heads(layer.linear(h, f"self_attn.{name}_proj"), name) for name in "qkv")
        mixed = _attention(config, _rotate(config, q), _rotate(config, k), v)
        x = x + layer.linear(mixed, "self_attn.o_proj")
        h = layer.rms_norm(x, "post_attention_layernorm", plus)
        gated = activation(layer.linear(h, "mlp.gate_proj")) * layer.linear(h, "mlp.up_proj")
        x = x + layer.linear(gated, "mlp.down_proj")
    return model.head(model.rms_norm(x, "norm", plus), "embed_tokens")


def _gemma(config, model, tokens):
    return _llama(config, model, tokens, activation=_tanh_gelu, plus=1.0, scale=np.sqrt(config.hidden_size))


def _gpt2(config, model, tokens):
    x = model["wte.weight"][tokens] + model["wpe.weight"][: len(tokens)]
    for layer in model.layers():
        qkv = layer.linear(layer.layer_norm(x, "ln_1"), "attn.c_attn")
        q, k, v = (part.reshape(len(x), config.num_heads, -1) for part in np.split(qkv, 3, -1))
        x = x + layer.linear(_attention(config, q, k, v), "attn.c_proj")
        h = layer.linear(layer.layer_norm(x, "ln_2"), "mlp.c_fc")
        x = x + layer.linear(_tanh_gelu(h), "mlp.c_proj")
    return model.head(model.layer_norm(x, "ln_f"), "wte")


def _falcon(config, model, tokens):
    x = model["word_embeddings.weight"][tokens]
    for layer in model.layers():
        before = ("ln_attn", "ln_mlp") if config.mlp_norm else ("input_layernorm", "input_layernorm")
        for_attention, for_mlp = (layer.layer_norm(x, name) for name in before)
        rows = layer.linear(for_attention, "self_attention.query_key_value")
        rows = rows.reshape(len(x), config.num_kv_heads, -1, config.head_dim)
        q, k, v = rows[:, :, :-2].reshape(len(x), -1, config.head_dim), rows[:, :, -2], rows[:, :, -1]
        mixed = _attention(config, _rotate(config, q), _rotate(config, k), v)
        h = _gelu(layer.linear(for_mlp, "mlp.dense_h_to_4h"))
        x = x + layer.linear(mixed, "self_attention.dense") + layer.linear(h, "mlp.dense_4h_to_h")
    return model.head(model.layer_norm(x, "ln_f"), "word_embeddings")


def _gptj(config, model, tokens):
    x = model["wte.weight"][tokens]
    for layer in model.layers():
        h = layer.layer_norm(x, "ln_1")
        q, k, v = (layer.linear(h, f"attn.{name}_proj").reshape(len(x), config.num_heads, -1) for name in "qkv")
        mixed = _attention(config, _rotate_neighbours(config, q), _rotate_neighbours(config, k), v)
        h = _tanh_gelu(layer.linear(h, "mlp.fc_in"))
        x = x + layer.linear(mixed, "attn.out_proj") + layer.linear(h, "mlp.fc_out")
    return model.layer_norm(x, "ln_f") @ model["lm_head.weight"].T + model["lm_head.bias"]


def _bloom(config, model, tokens):
    # The distance to the key, where the model has the key's position: softmax does not see the difference.
    t, s = np.indices((len(tokens), len(tokens)))
    alibi = -_alibi_slopes(config.num_heads)[:, None, None] * (t - s)
    x = model.layer_norm(model["word_embeddings.weight"][tokens], "word_embeddings_layernorm")
    for layer in model.layers():
        rows = layer.linear(layer.layer_norm(x, "input_layernorm"), "self_attention.query_key_value")
        rows = rows.reshape(len(x), config.num_heads, 3, -1)
        mixed = _attention(config, rows[:, :, 0], rows[:, :, 1], rows[:, :, 2], alibi)
        x = x + layer.linear(mixed, "self_attention.dense")
        h = layer.linear(layer.layer_norm(x, "post_attention_layernorm"), "mlp.dense_h_to_4h")
        x = x + layer.linear(_tanh_gelu(h), "mlp.dense_4h_to_h")
    return model.head(model.layer_norm(x, "ln_f"), "word_embeddings")


def _alibi_slopes(heads):
    """A geometric series from 2**(-8 / heads) to 2**-8, filled up from that of the next power of two."""
    if heads & (heads - 1) == 0:
        return np.array([0.5 ** (8 * (i + 1) / heads) for i in range(heads)])
    below = 1 << (heads.bit_length() - 1)
    return np.concatenate((_alibi_slopes(below), _alibi_slopes(2 * below)[::2][: heads - below]))


def _t5(config, model, tokens, encoded):
    def attend(layer, name, x, source, bias):
        q, k, v = (
            layer.linear(states, f"{name}.{part}").reshape(len(states), config.num_heads, -1)
            for part, states in (("q", x), ("k", source), ("v", source))
        )
        return layer.linear(_attend(q, k, v, bias, 1.0), f"{name}.o")

    t, s = np.indices((len(tokens), len(tokens)))
    rows = model["relative_attention_bias.weight"][np.vectorize(lambda d: _bucket(config, d))(np.maximum(t - s, 0))]
    bias = np.where(s > t, -np.inf, rows.transpose(2, 0, 1))
    x = model["shared.weight"][tokens]
    for layer in model.layers():
        h = layer.rms_norm(x, "layer.0.layer_norm")
        x = x + attend(layer, "layer.0.SelfAttention", h, h, bias)
        h = layer.rms_norm(x, "layer.1.layer_norm")
        x = x + attend(layer, "layer.1.EncDecAttention", h, encoded, 0.0)
        h = layer.rms_norm(x, "layer.2.layer_norm")
        mlp = "layer.2.DenseReluDense"
        if config.gated_mlp:
            h = _tanh_gelu(layer.linear(h, f"{mlp}.wi_0")) * layer.linear(h, f"{mlp}.wi_1")
        else:
            h = np.maximum(layer.linear(h, f"{mlp}.wi"), 0)
        x = x + layer.linear(h, f"{mlp}.wo")
    x = model.rms_norm(x, "final_layer_norm")
    return model.head(x / np.sqrt(config.hidden_size) if config.scaled_head else x, "shared")


def _bucket(config, distance):
    """The first half of the buckets is for one distance each; in the second, each reaches by a factor further."""
    half = config.relative_buckets // 2
    if distance < half:
        return distance
    factor = (config.relative_distance / half) ** (1 / (config.relative_buckets - half))
    bucket = half
    # The tolerance is for bounds that are whole numbers but for rounding.
    while bucket < config.relative_buckets - 1 and distance >= half * factor ** (bucket - half + 1) - 1e-9:
        bucket += 1
    return bucket


_MODELS = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": functools.partial(_llama, head_norm=True),
    "gemma": _gemma,
    "gpt2": _gpt2,
    "falcon": _falcon,
    "gptj": _gptj,
    "bloom": _bloom,
}
