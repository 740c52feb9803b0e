"""The CPU kernel under MindSpore's own operator: what it refuses, its registration, its threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import ifa_fusion

pytestmark = pytest.mark.grid

MODES = {"pynative": ms.PYNATIVE_MODE, "graph": ms.GRAPH_MODE}


class Attention(nn.Cell):
    """Constants in a Cell, tensors from outside."""

    def __init__(
        self, num_heads: int, num_key_value_heads: int, input_layout: str, inner_precise: int, block_size: int
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.input_layout = input_layout
        self.inner_precise = inner_precise

    def construct(self, query, key, value, mask, lengths, pse, d1, q2, o2, a_scale, a_offset, table, padding):
        return ops.incre_flash_attention(
            query,
            key,
            value,
            attn_mask=mask,
            actual_seq_lengths=lengths,
            pse_shift=pse,
            dequant_scale1=d1,
            quant_scale2=q2,
            quant_offset2=o2,
            antiquant_scale=a_scale,
            antiquant_offset=a_offset,
            block_table=table,
            kv_padding_size=padding,
            num_heads=self.num_heads,
            input_layout=self.input_layout,
            num_key_value_heads=self.num_key_value_heads,
            inner_precise=self.inner_precise,
            block_size=self.block_size,
        )


def tensor(*shape: int, dtype: Any = ms.float32) -> Tensor:
    return Tensor(np.zeros(shape, np.float32)).astype(dtype)


def cache(*shape: int, dtype: Any = ms.float32) -> dict[str, Any]:
    return {"key": [tensor(*shape, dtype=dtype)], "value": [tensor(*shape, dtype=dtype)]}


VALID: dict[str, Any] = {
    "query": tensor(2, 1, 32),
    **cache(2, 5, 16),
    "num_heads": 4,
    "num_key_value_heads": 2,
}
# Laid over VALID: 3 blocks of 16 positions, at most 2 for a sequence.
PAGED: dict[str, Any] = {
    **cache(3, 16, 16),
    "actual_seq_lengths": Tensor([5, 20], ms.int64),
    "block_table": tensor(2, 2, dtype=ms.int32),
    "block_size": 16,
}
# Laid over VALID.
INT8: dict[str, Any] = {**cache(2, 5, 16, dtype=ms.int8), "antiquant_scale": tensor(2, 16)}
TENSORS = (
    *("query", "key", "value", "attn_mask", "actual_seq_lengths", "pse_shift"),
    *("dequant_scale1", "quant_scale2", "quant_offset2", "antiquant_scale", "antiquant_offset"),
    *("block_table", "kv_padding_size"),
)


def run(mode: str, change: dict[str, Any]) -> np.ndarray:
    arguments = {**VALID, **change}
    ms.set_context(mode=MODES[mode])
    try:
        network = Attention(
            arguments["num_heads"],
            arguments["num_key_value_heads"],
            arguments.get("input_layout", "BSH"),
            arguments.get("inner_precise", 1),
            arguments.get("block_size", 0),
        )
        return network(*(arguments.get(name) for name in TENSORS)).asnumpy()
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


# Whoever refuses, MindSpore or the kernel: the process lives, and the message says what is wrong. In fp32 it
# is the kernel; in fp16 MindSpore's own infer function comes first in graph mode.
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("num_heads", {"num_heads": 0}),
    ("num_heads", {"num_heads": 0, "num_key_value_heads": 0}),
    ("num_heads", {"num_heads": -4}),
    ("num_heads", {"num_heads": 0, "input_layout": "BNSD", "query": tensor(2, 4, 1, 8), **cache(2, 2, 5, 8)}),
    ("num_heads|head_num", {"num_heads": 3}),
    ("num_heads", {"num_key_value_heads": 3, **cache(2, 5, 24)}),
    ("num_key_value_heads", {"num_key_value_heads": -2}),
    ("query", {"query": tensor()}),
    ("query", {"query": tensor(32)}),
    ("query", {"query": tensor(2, 32)}),
    ("query", {"query": tensor(2, 2, 32)}),
    ("query|B", {"query": tensor(0, 1, 32)}),
    ("query", {"query": tensor(2, 1, 32, dtype=ms.int32)}),
    ("query", {"query": tensor(2, 1, 513), **cache(2, 5, 513), "num_heads": 1, "num_key_value_heads": 1}),
    ("key", cache()),
    ("key", cache(16)),
    ("key", cache(2, 5, 1, 1, 16)),
    ("key", cache(3, 5, 16)),
    ("key", cache(2, 5, 24)),
    ("kv_hidden_size|key", cache(2, 5, 17)),
    ("key", cache(2, 0, 16)),
    ("key", cache(2, 5, 16, dtype=ms.int16)),
    ("key", {"key": VALID["key"] * 2, "value": VALID["value"] * 2}),
    ("value", {"value": [tensor(2, 6, 16)]}),
    ("value", {"value": [tensor(2, 5, 16, dtype=ms.float64)]}),
    ("mask", {"attn_mask": tensor(dtype=ms.bool_)}),
    ("mask", {"attn_mask": tensor(1, 5, dtype=ms.bool_)}),
    ("mask", {"attn_mask": tensor(2, 4, 5, dtype=ms.bool_)}),
    ("mask", {"attn_mask": tensor(2, 5)}),
    ("actual_seq_lengths", {"actual_seq_lengths": tensor(dtype=ms.int64)}),
    ("actual_seq_lengths", {"actual_seq_lengths": tensor(3, dtype=ms.int64)}),
    ("actual_seq_lengths", {"actual_seq_lengths": tensor(2)}),
    ("actual_seq_lengths", {"actual_seq_lengths": Tensor([6, 0], ms.int64)}),
    ("actual_seq_lengths", {"actual_seq_lengths": Tensor([1, -1], ms.int32)}),
    ("pse_shift", {"pse_shift": tensor()}),
    ("pse_shift", {"pse_shift": tensor(1, 4, 1, 4)}),
    ("pse_shift", {"pse_shift": tensor(1, 2, 1, 5)}),
    ("inner_precise", {"inner_precise": 2}),
    ("layout|query", {"input_layout": "TND"}),
    ("dequant_scale1", {"dequant_scale1": tensor(1)}),
    ("quant_scale2", {"quant_scale2": tensor(1, dtype=ms.bfloat16)}),
    *(("quant_scale2", {"quant_scale2": tensor(*shape)}) for shape in ((), (2,), (16,), (8, 4), (4, 1), (1, 4, 8, 1))),
    ("quant_scale2", {**PAGED, "quant_scale2": tensor(32)}),
    ("query", {"quant_scale2": tensor(1), "query": tensor(2, 1, 32, dtype=ms.int16)}),
    ("query", {"quant_scale2": tensor(1), "query": tensor(2, 2, 32)}),
    ("value", {"quant_scale2": tensor(1), "value": [tensor(2, 5, 16, dtype=ms.bfloat16)]}),
    ("quant_offset2", {"quant_offset2": tensor(1)}),
    ("quant_offset2", {"quant_scale2": tensor(1), "quant_offset2": tensor(1, dtype=ms.bfloat16)}),
    ("quant_offset2", {"quant_scale2": tensor(4, 8), "quant_offset2": tensor(1)}),
    ("antiquant_scale", {"antiquant_scale": tensor(2, 16)}),
    ("antiquant_offset", {"antiquant_offset": tensor(2, 16)}),
    ("antiquant_scale", INT8 | {"antiquant_scale": None}),
    ("antiquant_scale", INT8 | {"antiquant_scale": tensor(2, 16, dtype=ms.bfloat16)}),
    ("antiquant_scale", INT8 | {"antiquant_scale": tensor(2, 16, dtype=ms.int8)}),
    *(
        ("antiquant_scale", INT8 | {"antiquant_scale": tensor(*shape)})
        for shape in ((), (1,), (16,), (2, 1), (1, 16), (2, 4, 8), (2, 2, 8, 1))
    ),
    ("antiquant_offset", INT8 | {"antiquant_offset": tensor(2)}),
    ("antiquant_offset", INT8 | {"antiquant_offset": tensor(2, 32)}),
    ("antiquant_offset", INT8 | {"antiquant_offset": tensor(2, 16, dtype=ms.bfloat16)}),
    ("value", INT8 | {"value": VALID["value"]}),
    ("block_size", {**PAGED, **INT8, **cache(3, 16, 16, dtype=ms.int8)}),
    ("block_size", {**PAGED, "block_size": 0}),
    ("block_size", {**PAGED, "block_size": 24}),
    ("block_size", {**PAGED, "block_size": -(2**63)}),
    ("block_size", {**PAGED, **cache(3, 1024, 16), "block_size": 1024}),
    ("block_table", {**PAGED, "block_table": tensor(2, 2, dtype=ms.int64)}),
    ("block_table", {**PAGED, "block_table": tensor(dtype=ms.int32)}),
    ("block_table", {**PAGED, "block_table": tensor(4, dtype=ms.int32)}),
    ("block_table", {**PAGED, "block_table": tensor(3, 2, dtype=ms.int32)}),
    ("block_table", {**PAGED, "block_table": tensor(2, 0, dtype=ms.int32)}),
    ("block_table", {**PAGED, "block_table": tensor(2, 16385, dtype=ms.int32)}),
    ("block_table", {**PAGED, "block_table": Tensor([[3, 0], [0, 0]], ms.int32)}),
    ("block_table", {**PAGED, "block_table": Tensor([[0, -1], [0, -1]], ms.int32)}),
    ("actual_seq_lengths", {**PAGED, "actual_seq_lengths": None}),
    ("actual_seq_lengths", {**PAGED, "actual_seq_lengths": Tensor([5, 33], ms.int64)}),
    ("actual_seq_lengths", {**PAGED, "actual_seq_lengths": tensor(3, dtype=ms.int64)}),
    ("key", {**PAGED, **cache(3, 2, 16, 8)}),
    ("key", {**PAGED, **cache(3, 16)}),
    ("key", {**PAGED, **cache()}),
    ("key", {**PAGED, **cache(3, 16, 24)}),
    ("key", {**PAGED, **cache(3, 32, 16)}),
    ("key", {**PAGED, **cache(0, 16, 16)}),
    (
        "key",
        {
            **PAGED,
            "query": tensor(2, 1, 256 * 257),
            **cache(1, 16, 256 * 257),
            "num_heads": 256,
            "num_key_value_heads": 256,
        },
    ),
    ("key", {**PAGED, "input_layout": "BNSD", "query": tensor(2, 4, 1, 8), **cache(3, 4, 16, 8)}),
    ("key", {**PAGED, "input_layout": "BNSD", "query": tensor(2, 4, 1, 8), **cache(3, 2, 32, 8)}),
    ("value", {**PAGED, "value": [tensor(2, 16, 16)]}),
    ("query", {**PAGED, "query": tensor(2, 32)}),
    ("query", {**PAGED, "query": tensor(2, 2, 32)}),
    ("mask", {**PAGED, "attn_mask": tensor(2, 31, dtype=ms.bool_)}),
    ("mask", {**PAGED, "attn_mask": tensor(1, 32, dtype=ms.bool_)}),
    ("pse_shift", {**PAGED, "pse_shift": tensor(1, 4, 1, 31)}),
    ("num_heads", {**PAGED, "num_heads": 0}),
    ("num_heads", {**PAGED, "num_heads": 3}),
    ("kv_padding_size", {"kv_padding_size": tensor(2, dtype=ms.int64)}),
    ("kv_padding_size", {"kv_padding_size": tensor(1, 1, dtype=ms.int64)}),
    ("kv_padding_size", {"kv_padding_size": tensor(0, dtype=ms.int64)}),
    ("kv_padding_size", {"kv_padding_size": tensor(1, dtype=ms.int32)}),
]


def in_fp16(change: dict[str, Any]) -> dict[str, Any]:
    def cast(value: Any) -> Any:
        if isinstance(value, list):
            return [cast(element) for element in value]
        return value.astype(ms.float16) if isinstance(value, Tensor) and value.dtype == ms.float32 else value

    floating = {name: cast(value) for name, value in {**VALID, **change}.items()}
    return {
        **floating,
        **{name: change[name] for name in ("quant_scale2", "quant_offset2", "actual_seq_lengths") if name in change},
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize(("name", "change"), FAULTS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(FAULTS)])
def test_bad_call_is_refused(name: str, change: dict[str, Any], dtype: str, mode: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=name):
        run(mode, in_fp16(change) if dtype == "fp16" else change)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("change", [{}, INT8], ids=["float", "int8"])
def test_output_is_of_the_type_of_query_or_int8(change: dict[str, Any], mode: str) -> None:
    assert run(mode, change).dtype == np.float32
    assert run(mode, in_fp16(change)).dtype == np.float16
    quantised = change | {"quant_scale2": tensor(1)}
    assert run(mode, quantised).dtype == np.int8
    assert run(mode, in_fp16(quantised)).dtype == np.int8


def test_graph_takes_fp32_only_if_all_three_are() -> None:
    with pytest.raises(TypeError, match="query"):
        run("graph", cache(2, 5, 16, dtype=ms.float16))


def test_many_threads_at_once() -> None:
    rng = np.random.default_rng(0)
    failures: list[str] = []

    def work(length: int) -> None:
        value = rng.standard_normal((1, length, 16)).astype(np.float32)
        key = Tensor(np.zeros((1, length, 16), np.float32))
        for _ in range(20):
            out = ops.incre_flash_attention(
                tensor(1, 1, 32), [key], [Tensor(value)], num_heads=4, num_key_value_heads=2
            )
            if not np.allclose(out.asnumpy().reshape(2, 2, 8)[:, 0], value.mean(1).reshape(2, 8), atol=1e-5):
                failures.append(f"length {length}")

    threads = [threading.Thread(target=work, args=(length,)) for length in (1, 7, 64, 301)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def in_new_process(program: str, *arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_second_copy_of_the_library_loads(tmp_path: Path) -> None:
    copy = shutil.copy(ifa_fusion._native.LIBRARY_PATH, tmp_path / "copy.so")
    program = """
        import ctypes, sys
        import mindspore as ms, numpy as np
        import ifa_fusion
        ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
        ones = ms.Tensor(np.ones((1, 1, 8), np.float32))
        print(ifa_fusion.incre_flash_attention(ones, [ones], [ones]).asnumpy().sum())
    """
    assert in_new_process(program, str(copy)).split()[-1] == "8.0"


@pytest.mark.parametrize(
    ("setting", "environment"),
    [
        ("ms.device_context.cpu.op_tuning.threads_num(1)", {}),
        ("ms.set_context(runtime_num_threads=1)", {}),
        ("", {"OMP_NUM_THREADS": "1"}),
    ],
    ids=["op_tuning", "context", "environment"],
)
def test_one_thread_is_one_thread(setting: str, environment: dict[str, str]) -> None:
    program = """
        import os, sys
        import mindspore as ms, numpy as np
        import ifa_fusion
        exec(sys.argv[1])
        zeros = ms.Tensor(np.zeros((1, 8, 4096, 64), np.float32))
        query = zeros[:, :, :1]

        def attend(length):
            return ifa_fusion.incre_flash_attention(
                query, [zeros], [zeros], actual_seq_lengths=length, num_heads=8, input_layout="BNSD"
            ).asnumpy()

        attend([1])  # too short to be split, but MindSpore starts its own threads
        before = len(os.listdir("/proc/self/task"))
        attend([4096])
        print(len(os.listdir("/proc/self/task")) - before)
    """
    assert in_new_process(program, setting, **environment).split()[-1] == "0"


def test_child_of_an_imported_process_calls() -> None:
    """After a first call it could not: MindSpore's workers do not survive a fork, and `query + query` hangs as well."""
    program = """
        import os, signal
        import mindspore as ms, numpy as np
        import ifa_fusion
        cache = ms.Tensor(np.ones((1, 8, 4096, 64), np.float32))  # large enough for several threads
        query = ms.Tensor(np.ones((1, 8, 1, 64), np.float32))

        def attend():
            output = ifa_fusion.incre_flash_attention(query, [cache], [cache], num_heads=8, input_layout="BNSD")
            return (output.asnumpy() == 1).all()

        def status_of_child():
            child = os.fork()
            if child == 0:
                signal.alarm(40)
                os._exit(0 if attend() and attend() else 1)
            return os.waitpid(child, 0)[1]

        print(status_of_child(), status_of_child(), attend())
    """
    assert in_new_process(program).splitlines()[-1] == "0 0 True"
