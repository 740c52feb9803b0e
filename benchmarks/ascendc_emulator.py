"""The AscendC operator in its emulator, from the library of kernels/ascendc_sim/run_decode.h."""

from __future__ import annotations

import ctypes
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .case import DTYPES
from .ring import Array

LIBRARY = Path("build/cpp/kernels/ascendc_sim/libifa_ascendc_run.so")

OPERANDS = (
    *("query", "key", "value", "attn_mask", "actual_seq_lengths", "pse_shift"),
    *("dequant_scale1", "quant_scale1", "dequant_scale2", "quant_scale2", "quant_offset2"),
    *("antiquant_scale", "antiquant_offset", "block_table", "kv_padding_size"),
)
"""In the order of the primitive."""

_ABSENT = 0
_TYPES = {
    np.dtype(bool): 1,
    np.dtype(np.int8): 2,
    np.dtype(np.uint8): 3,
    np.dtype(np.int32): 4,
    np.dtype(np.int64): 5,
    DTYPES["fp16"]: 6,
    DTYPES["bf16"]: 7,
    DTYPES["fp32"]: 8,
}
_OTHER = 9
"""As OperandType in kernels/cpu/operator_call.h."""

_LAYOUTS = {"BSH": 0, "BNSD": 1}


class _Operand(ctypes.Structure):
    """IfaAscendcOperand of run_decode.h."""

    _fields_ = (
        ("type", ctypes.c_int64),
        ("type_name", ctypes.c_char_p),
        ("rank", ctypes.c_int64),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("data", ctypes.c_void_p),
    )


class _Call(ctypes.Structure):
    """IfaAscendcCall of run_decode.h."""

    _fields_ = (
        ("operands", _Operand * len(OPERANDS)),
        *(
            (name, ctypes.c_int64)
            for name in ("num_heads", "input_layout", "num_key_value_heads", "block_size", "inner_precise")
        ),
        ("scale_value", ctypes.c_double),
        ("output", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("cube_cores", "vector_cores", "host_knows_lengths", "trace")),
    )


class Refused(ValueError):
    """The operator does not take the call; the message says why."""


class Finding(RuntimeError):
    """The device code broke a rule of the device; the message says which, where, and what is allowed."""

    def __init__(self, check: str, file: str, line: int, problem: str) -> None:
        super().__init__(problem)
        self.file, self.line = file, line
        self.check = check
        """For example "order"."""


@dataclass(frozen=True)
class Settings:
    """How a call is emulated.

    Attributes:
        cube_cores: Of the processor.
        vector_cores: Of the processor.
        host_knows_lengths: Whether the plan is made with the values of actual_seq_lengths.
        trace: Whether the run lists every instruction.
    """

    cube_cores: int = 24
    vector_cores: int = 48
    host_knows_lengths: bool = True
    trace: bool = False


class PipeTime(NamedTuple):
    """Work of one pipe of one core, for example of "MTE2" of "AIC 3"."""

    core: str
    pipe: str
    busy: float
    """Cycles."""
    instructions: int


class TraceEntry(NamedTuple):
    """One instruction; its times are in cycles from the start of the launch."""

    core: str
    pipe: str
    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Run:
    """What one launch gave.

    Attributes:
        output: Of the shape of query.
        path: "vector" or "cube".
        tile_rows: Positions of a tile.
        cores: That worked: vector cores on the vector path, else cube cores.
        split_rows: Whether a (batch, KV head) was split among cores.
        workspace_bytes: What the launch needs of it.
        cycles: Of the slowest core, by the emulator's model of time.
        seconds: The same.
        clock_hz: The clock of the cores, as the model has it.
        hbm_bytes_per_second: The bandwidth of the memory, as the model has it.
        pipes: The work of every pipe.
        tensors: Bytes read and written, as {"read", "written"}, by the names of the operands, "output" and
            "workspace".
        output_complete: Whether every byte of the output was written.
        repeats: Of each vector and cube instruction.
        bytes: Of each way through the memories.
        flags: That were set, and barriers.
        trace: Every instruction, if it was asked for.
    """

    output: Array
    path: str
    tile_rows: int
    cores: int
    split_rows: bool
    workspace_bytes: int
    cycles: float
    seconds: float
    clock_hz: float
    hbm_bytes_per_second: float
    pipes: list[PipeTime]
    tensors: dict[str, dict[str, int]]
    output_complete: bool
    repeats: dict[str, int]
    bytes: dict[str, int]
    flags: dict[str, int]
    trace: list[TraceEntry]


def run(arguments: Mapping[str, Any], settings: Settings = Settings()) -> Run:
    """Plan a call, and run the device code.

    Args:
        arguments: As ``ifa_fusion.reference.incre_flash_attention`` takes them, in the types of the operator.
        settings: How to run it.

    Raises:
        Refused: The operator does not take the call.
        Finding: The device code broke a rule.
        FileNotFoundError: The library was not built.
    """
    arrays = {name: _array(name, arguments[name]) for name in OPERANDS if arguments.get(name) is not None}
    output = np.empty(arrays["query"].shape, np.int8 if "quant_scale2" in arrays else arrays["query"].dtype)
    call = _Call(
        operands=(_Operand * len(OPERANDS))(*(_operand(arrays.get(name)) for name in OPERANDS)),
        num_heads=arguments.get("num_heads", 1),
        input_layout=_LAYOUTS[arguments.get("input_layout", "BSH")],
        num_key_value_heads=arguments.get("num_key_value_heads", 0),
        block_size=arguments.get("block_size", 0),
        inner_precise=1,
        scale_value=arguments.get("scale_value", 1.0),
        output=output.ctypes.data,
        **vars(settings),
    )
    answer = json.loads(_library().ifa_ascendc_run(ctypes.byref(call)))
    if "refused" in answer:
        raise Refused(answer["refused"])
    if "finding" in answer:
        raise Finding(**answer["finding"])
    pipes = [PipeTime(**pipe) for pipe in answer.pop("pipes")]
    trace = [TraceEntry(**entry) for entry in answer.pop("trace")]
    return Run(output=output, pipes=pipes, trace=trace, **answer)


@functools.cache
def _library() -> ctypes.CDLL:
    if not LIBRARY.is_file():
        raise FileNotFoundError(f"'{LIBRARY}' is not there; `make test-cpp` builds it.")
    library = ctypes.CDLL(str(LIBRARY.absolute()))
    library.ifa_ascendc_run.argtypes = [ctypes.POINTER(_Call)]
    library.ifa_ascendc_run.restype = ctypes.c_char_p
    return library


def _array(name: str, value: Any) -> Array:
    """Contiguous; numbers that the operator takes as int64 may be given as Python's."""
    whole = name in ("actual_seq_lengths", "kv_padding_size")
    return np.ascontiguousarray(np.asarray(value, np.int64).reshape(-1) if whole else value)


def _operand(array: Array | None) -> _Operand:
    if array is None:
        return _Operand(type=_ABSENT, type_name=b"None")
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    type_code = _TYPES.get(array.dtype, _OTHER)
    return _Operand(type_code, array.dtype.name.encode(), array.ndim, shape, array.ctypes.data)
