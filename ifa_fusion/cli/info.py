"""Show versions, build, instruction set, threads, and what will be used where: for a bug report."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform

from ifa_fusion.cli.outcome import Outcome

_PACKAGES = {"ifa_fusion": "ifa-fusion", "MindSpore": "mindspore", "NumPy": "numpy", "onnx": "onnx"}
_CANN_FOLDERS = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Takes none."""


def run(options: argparse.Namespace) -> Outcome:
    """Collects what there is; works where the library, or MindSpore, can't be loaded."""
    table = {name: _version(package) for name, package in _PACKAGES.items()}
    table["Python"] = platform.python_version()
    table["machine"] = f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, {platform.platform()}"
    table["built for"] = _build()
    try:
        importlib.import_module("ifa_fusion._native")  # its errors are sentences
        table |= _loaded()
        failure = ""
    except ImportError as error:
        failure = str(error)
        table["library"] = "not loaded"
    table["CANN"] = _cann()
    width = max(map(len, table))
    return Outcome(
        {**table, "problem": failure}, "\n".join(f"{name:<{width}}  {value}" for name, value in table.items()), failure
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _build() -> str:
    try:
        build = importlib.import_module("ifa_fusion._build_info")
    except ImportError:
        return "not built"
    return f"MindSpore {build.MINDSPORE_VERSION} on {build.PROCESSOR}, by {build.COMPILER}"


def _loaded() -> dict[str, str]:
    import mindspore as ms

    from ifa_fusion import _ascend_kernel, _native

    package = _ascend_kernel.operator_library()
    return {
        "library": str(_native.LIBRARY_PATH),
        "instruction set": _native.instruction_set(),
        "threads": f"{_native.thread_count()}{_asked_for()}",
        "MindSpore runs on": ms.get_context("device_target"),
        "on a CPU": "the kernel of ifa_fusion",
        "on Ascend": "CANN's IncreFlashAttention, or the AscendC kernel where a graph asks for it",
        "AscendC kernel": str(package) if package else "no operator package (kernels/ascendc/build.sh makes one)",
    }


def _asked_for() -> str:
    asked = os.environ.get("OMP_NUM_THREADS")
    return f" (OMP_NUM_THREADS={asked})" if asked else ""


def _cann() -> str:
    found = next((os.environ[name] for name in _CANN_FOLDERS if os.environ.get(name)), None)
    return found or f"not found (its set_env.sh sets {_CANN_FOLDERS[0]})"
