"""Loads libifa_fusion.so, the pass and the CPU kernel, once, and wraps its C interface.

Checks first that the MindSpore it was built for is the one installed: the library uses MindSpore's C++ interface, which
is tied to the exact version. Knows nothing of what the pass or the kernel do.
"""

import ctypes
import importlib.metadata
import os
import platform
from pathlib import Path


def _load() -> tuple[ctypes.CDLL, Path]:
    try:
        from ifa_fusion import _build_info  # type: ignore[attr-defined]  # written by the build
    except ImportError:
        raise ImportError(
            "ifa_fusion has no native library here: build it with `make setup`, or `pip install .` in its source "
            "folder."
        ) from None
    needed = _build_info.MINDSPORE_VERSION
    try:
        installed = importlib.metadata.version("mindspore")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(
            f"ifa_fusion needs MindSpore {needed}, and none is installed: `pip install mindspore=={needed}`."
        ) from None
    if installed != needed:
        raise ImportError(
            f"ifa_fusion was built for MindSpore {needed}, and MindSpore {installed} is installed: "
            f"`pip install mindspore=={needed}`, or build ifa_fusion again with `pip install .` in its source folder."
        )
    if platform.machine() != _build_info.PROCESSOR:
        raise ImportError(
            f"ifa_fusion was built for a processor of {_build_info.PROCESSOR}, and this one is {platform.machine()}: "
            "build it here with `pip install .` in its source folder."
        )
    try:
        import mindspore  # noqa: F401  its libraries have to be in the process before ours is linked against them
    except ImportError as error:
        raise ImportError(
            f"ifa_fusion needs MindSpore {needed}, which is installed but can't be imported ({error}): "
            f"`pip install --force-reinstall mindspore=={needed} 'numpy<2'`."
        ) from error

    path = Path(_build_info.__file__).with_name("libifa_fusion.so")
    try:
        # Global, so that MindSpore finds the kernel's type information across libraries.
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL), path
    except OSError as error:
        raise ImportError(
            f"ifa_fusion's library {path} can't be loaded on this machine ({error}): build it here with "
            "`pip install .` in its source folder."
        ) from None


_library, LIBRARY_PATH = _load()
_library.ifa_set_options.argtypes = [ctypes.c_bool, ctypes.c_bool, ctypes.c_int, ctypes.c_bool]
_library.ifa_set_options.restype = None
_library.ifa_pass_seconds.argtypes = []
_library.ifa_pass_seconds.restype = ctypes.c_double
_library.ifa_take_report.argtypes = []
_library.ifa_take_report.restype = ctypes.c_void_p
_library.ifa_free.argtypes = [ctypes.c_void_p]
_library.ifa_free.restype = None
_library.ifa_instruction_set.argtypes = []
_library.ifa_instruction_set.restype = ctypes.c_char_p
_library.ifa_thread_count.argtypes = []
_library.ifa_thread_count.restype = ctypes.c_int
_library.ifa_set_thread_count.argtypes = [ctypes.c_int]
_library.ifa_set_thread_count.restype = None


TARGETS = (None, "cpu", "ascend")
"""Devices that graphs can be meant for, numbered as in `passes/options.h`; None is the one that MindSpore runs on."""

ASCEND_KERNELS = ("cann", "ascendc")
"""Whose kernel runs the fused operator on Ascend."""


def set_options(*, enabled: bool, strict: bool, target: str | None, ascend_kernel: str) -> None:
    """Switches the pass for graphs that are compiled from now on.

    `target` is one of `TARGETS`, and `ascend_kernel` one of `ASCEND_KERNELS`.
    """
    _library.ifa_set_options(enabled, strict, TARGETS.index(target), ascend_kernel == "ascendc")


def take_report() -> str:
    """The sites that the pass has seen since the last call, as a JSON list."""
    address = _library.ifa_take_report()
    try:
        return ctypes.string_at(address).decode()
    finally:
        _library.ifa_free(address)


def pass_seconds() -> float:
    """The time that the pass has taken in this process."""
    return _library.ifa_pass_seconds()


def instruction_set() -> str:
    """The instruction set that the CPU kernel uses on this machine."""
    return _library.ifa_instruction_set().decode()


_CPUS = len(os.sched_getaffinity(0))
"""Those of the process, taken when it starts: later the calling thread may have been pinned to one of them."""


def thread_count() -> int:
    """The threads that one call of the CPU kernel uses at most."""
    return _library.ifa_thread_count()


def set_thread_count(threads: int) -> None:
    """Limits the threads of the CPU kernel; 0 returns to OMP_NUM_THREADS, or all CPUs of the process.

    MindSpore's own setting, where the user made one, comes before this.
    """
    # MindSpore sets OMP_NUM_THREADS to 1 behind Python's back when it is imported; os.environ still holds what the user
    # said. Measured with 2.10.0: getenv("OMP_NUM_THREADS") is "1" afterwards, whatever the machine.
    if threads == 0 and not os.environ.get("OMP_NUM_THREADS"):
        threads = _CPUS
    _library.ifa_set_thread_count(threads)


set_thread_count(0)
