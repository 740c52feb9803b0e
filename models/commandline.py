"""The options that say which model to build, which the command lines here share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from .build import MODELS, build_model
from .checkpoint import Weights, read_checkpoint
from .config import PRESETS, ModelConfig, resolve_config
from .decoder import CACHES, DTYPES, Decoder


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `model_from_options` reads."""
    parser.add_argument("--model", required=True, choices=MODELS, help="the model's class")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--config", help=f"a config.json or a preset ({', '.join(PRESETS)}); weights are random, from --seed"
    )
    source.add_argument("--checkpoint", help="a folder or file with weights")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--cache", default="static", choices=CACHES)
    parser.add_argument("--capacity", type=int, default=0, help="tokens a static cache holds (default: all positions)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def model_from_options(options: argparse.Namespace) -> Callable[[], Decoder]:
    """A function that builds the network anew at every call. Raises ValueError or FileNotFoundError."""
    config, weights = weights_from_options(options)
    return lambda: build_model(
        config, weights, options.cache, batch=options.batch, capacity=options.capacity, dtype=options.dtype
    )


def weights_from_options(options: argparse.Namespace) -> tuple[ModelConfig, Weights | int]:
    """The configuration, and the arrays by parameter name or a seed. Raises ValueError or FileNotFoundError."""
    if options.checkpoint:
        config, weights = read_checkpoint(options.checkpoint)
    else:
        config, weights = resolve_config(options.config), options.seed
    if MODELS[config.architecture] is not MODELS[options.model]:
        raise ValueError(f"--model is {options.model!r}; the configuration is of {config.architecture!r}")
    return config, weights
