"""Options that several commands take."""

from __future__ import annotations

import argparse


def add_model(parser: argparse.ArgumentParser, name: str = "model", metavar: str = "MODEL") -> None:
    """The network, and the sizes that it leaves open."""
    parser.add_argument(
        name,
        metavar=metavar,
        help="a .mindir or .onnx file, or package.module:function, which is called without arguments and returns "
        "a network and its inputs: (net, *inputs)",
    )
    parser.add_argument(
        "--dims",
        type=_dims,
        default={},
        metavar="NAME=SIZE,...",
        help="sizes that a file leaves open, by ONNX's name of the dimension, or as INPUT.AXIS",
    )


def add_fusion(parser: argparse.ArgumentParser) -> None:
    """How attention is fused, where the result is meant for another machine."""
    parser.add_argument("--target", choices=("cpu", "ascend"), help="the device (default: the one MindSpore runs on)")
    parser.add_argument(
        "--ascend-kernel",
        choices=("cann", "ascendc"),
        default="cann",
        help="whose kernel graphs for Ascend call (default: cann)",
    )
    add_strict(parser)
    parser.add_argument("--require-fusion", action="store_true", help="exit with 1 where nothing is fused")


def add_strict(parser: argparse.ArgumentParser) -> None:
    """The option of `ifa_fusion.enable`."""
    parser.add_argument("--strict", action="store_true", help="keep the value of rows that are masked throughout")


def count(text: str) -> int:
    """The type of an option that is a number of things."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, but got {text!r}")
    return int(text)


def _dims(text: str) -> dict[str, int]:
    sizes = {}
    for part in text.split(","):
        name, _, size = part.rpartition("=")
        if not name.strip() or not size.strip().isdecimal():
            raise argparse.ArgumentTypeError(f"must be NAME=SIZE,... with sizes of 0 or more, but got {text!r}")
        sizes[name.strip()] = int(size)
    return sizes
