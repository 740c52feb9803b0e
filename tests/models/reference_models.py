"""Llama and GPT-2 over a whole sequence in float64 NumPy, written from the models' definitions."""

import numpy as np


def reference_logits(config, weights, tokens):
    """Logits (T, vocab_size) for tokens (T,), every token attending to those before it and to itself."""
    wide = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    model = _gpt2 if config.architecture == "gpt2" else _llama
    return model(config, wide, np.asarray(tokens))


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _attention(config, q, k, v):
    """q: (T, N, D); k, v: (T, kvN, D) -> (T, N * D)."""
    steps = len(q)
    k, v = (x[:, np.arange(config.num_heads) // config.group_size] for x in (k, v))
    scores = np.einsum("tnd,snd->nts", q, k) / np.sqrt(config.head_dim)
    t, s = np.indices((steps, steps))
    hidden = s > t
    if config.window is not None:
        hidden |= s <= t - config.window
    return np.einsum("nts,snd->tnd", _softmax(np.where(hidden, -np.inf, scores)), v).reshape(steps, -1)


def _rotate(config, x):
    half = config.head_dim // 2
    angles = np.arange(len(x))[:, None] * config.rope_theta ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)[:, None]
    return np.concatenate((turned.real, turned.imag), -1)


def _llama(config, weights, tokens):
    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps) * weights[f"{name}.weight"]

    def heads(x):
        return x.reshape(len(x), -1, config.head_dim)

    x = weights["embed_tokens.weight"][tokens]
    for index in range(config.num_layers):
        layer = f"layers.{index}"
        h = norm(x, f"{layer}.input_layernorm")
        q, k, v = (heads(linear(h, f"{layer}.self_attn.{name}_proj")) for name in "qkv")
        mixed = _attention(config, _rotate(config, q), _rotate(config, k), v)
        x = x + linear(mixed, f"{layer}.self_attn.o_proj")
        h = norm(x, f"{layer}.post_attention_layernorm")
        gate = linear(h, f"{layer}.mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj")
    head = "embed_tokens" if config.tied_embeddings else "lm_head"
    return linear(norm(x, "norm"), head)


def _gpt2(config, weights, tokens):
    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt(x.var(-1, keepdims=True) + config.norm_eps)
        return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["wte.weight"][tokens] + weights["wpe.weight"][: len(tokens)]
    for index in range(config.num_layers):
        layer = f"layers.{index}"
        qkv = linear(norm(x, f"{layer}.ln_1"), f"{layer}.attn.c_attn")
        q, k, v = (part.reshape(len(x), config.num_heads, -1) for part in np.split(qkv, 3, -1))
        x = x + linear(_attention(config, q, k, v), f"{layer}.attn.c_proj")
        h = linear(norm(x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")
        h = h * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + linear(h, f"{layer}.mlp.c_proj")
    return norm(x, "ln_f") @ weights["wte.weight"].T
