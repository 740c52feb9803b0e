"""What a script runs first so that it finds an installation in which something is wrong."""

OTHER_MINDSPORE = """
import importlib.metadata
real = importlib.metadata.version
importlib.metadata.version = lambda name: "2.9.1" if name == "mindspore" else real(name)
"""
NOT_BUILT = """
import sys
sys.modules["ifa_fusion._build_info"] = None
"""
NO_MINDSPORE = """
import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
"""
UNIMPORTABLE_MINDSPORE = """
import sys
sys.modules["mindspore"] = None
"""
OTHER_PROCESSOR = """
import platform
platform.machine = lambda: "aarch64"
"""
MISSING_LIBRARY = """
import ctypes
real = ctypes.CDLL
def load(name, *args, **kwargs):
    if name and "libifa_fusion" in str(name):
        raise OSError("libstdc++.so.6: cannot open shared object file")
    return real(name, *args, **kwargs)
ctypes.CDLL = load
"""
