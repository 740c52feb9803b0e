"""Gives the AscendC kernel to MindSpore's Ascend backend, from the operator package that is installed for CANN.

The import of this module does it where there is one, so that a loaded MindIR needs no call. Knows nothing of what the
kernel does, nor of fusion.
"""

import ctypes
import functools
import os
import warnings
from pathlib import Path

import mindspore

from ifa_fusion import _native

_GLUE = _native.LIBRARY_PATH.with_name("libifa_fusion_ascend.so")
_BACKEND = Path(mindspore.__file__).parent / "lib" / "plugin" / "libmindspore_ascend.so.2"


def operator_library() -> Path | None:
    """The library of the installed operator package that has IfaDecode, where CANN itself looks for packages."""
    packages = [Path(folder) for folder in os.environ.get("ASCEND_CUSTOM_OPP_PATH", "").split(":") if folder]
    if operators := os.environ.get("ASCEND_OPP_PATH"):
        packages += sorted(Path(operators, "vendors").glob("*"))
    for package in packages:
        library = package / "op_api" / "lib" / "libcust_opapi.so"
        if library.is_file() and (package / "op_api" / "include" / "aclnn_ifa_decode.h").is_file():
            return library
    return None


@functools.cache
def register() -> None:
    """Makes graphs that call the AscendC kernel runnable on a device, once for the process.

    Raises:
        RuntimeError: If the operator package is not installed, or it or MindSpore's Ascend backend can't be loaded.
    """
    library = operator_library()
    if library is None:
        raise RuntimeError(
            'ascend_kernel="ascendc" needs the operator package with IfaDecode, and neither ASCEND_CUSTOM_OPP_PATH nor '
            "ASCEND_OPP_PATH leads to one: build it with kernels/ascendc/build.sh, install it and source its "
            'set_env.bash, or use ascend_kernel="cann".'
        )
    try:
        # Global, because the glue takes from there what it leaves undefined.
        ctypes.CDLL(str(_BACKEND), mode=ctypes.RTLD_GLOBAL)
        glue = ctypes.CDLL(str(_GLUE))
    except OSError as error:
        raise RuntimeError(
            f"the AscendC kernel can't be given to MindSpore's Ascend backend ({error}): check that CANN and its "
            "driver are installed and that its set_env.sh was sourced."
        ) from None
    glue.ifa_register_ascend_kernel.argtypes = [ctypes.c_char_p]
    glue.ifa_register_ascend_kernel.restype = ctypes.c_char_p
    if missing := glue.ifa_register_ascend_kernel(os.fsencode(library)):
        raise RuntimeError(
            f"the operator package of IfaDecode can't be used ({missing.decode()}): build it again with "
            "kernels/ascendc/build.sh for the CANN that is installed, and install it."
        )


def register_if_installed() -> None:
    """The same where there is an operator package, with a warning if it can't be used."""
    if operator_library() is None:
        return
    try:
        register()
    except RuntimeError as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)


register_if_installed()
