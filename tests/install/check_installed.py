"""Uses an installed ifa_fusion by its commands and from Python, with nothing beside it: no pytest, no source tree."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np

import ifa_fusion

NETWORK = """
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Attention(nn.Cell):
    def construct(self, query, key, value, mask):
        key, value = key.repeat_interleave(4, 1), value.repeat_interleave(4, 1)
        scores = ops.matmul(query, key.swapaxes(-1, -2)) * 0.25 + mask
        return ops.matmul(ops.softmax(scores, -1), value)


def decode():
    random = np.random.default_rng(0)
    query, key, value = (random.standard_normal(s, np.float32) for s in ((2, 8, 1, 16), (2, 2, 9, 16), (2, 2, 9, 16)))
    mask = np.where(np.arange(9) < 7, 0, -10000).astype(np.float32)
    return Attention(), *map(Tensor, (query, key, value, mask))
"""


def run(*command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs `ifa-fusion` with these arguments."""
    program = Path(sys.executable).with_name("ifa-fusion")
    done = subprocess.run([program, *command], capture_output=True, text=True, check=False)
    assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
    return done


def main() -> None:
    """Stops with an AssertionError at the first thing that is not as it should be."""
    assert Path(sys.prefix) in Path(ifa_fusion.__file__).parents, ifa_fusion.__file__
    print(run("info").stdout)

    Path("network.py").write_text(NETWORK)
    assert "fused" in run("explain", "network:decode", "--require-fusion").stdout
    report = json.loads(run("explain", "network:decode", "--json").stdout)
    assert report, "explain --json gave nothing"
    run("verify", "network:decode")
    assert "no_such" in run("verify", "network:no_such", code=2).stderr
    missing = run("generate", "--checkpoint", "model.gguf", "--prompt", "x", code=2).stderr
    assert "ifa-fusion[models]" in missing or "model.gguf" in missing, missing

    random = np.random.default_rng(0)
    query, key, value = (random.standard_normal(s, np.float32) for s in ((2, 1, 64), (2, 33, 32), (2, 33, 32)))
    settings = {"num_heads": 4, "num_key_value_heads": 2, "scale_value": 0.25}
    tensors = ms.Tensor(query), [ms.Tensor(key)], [ms.Tensor(value)]
    got = ifa_fusion.incre_flash_attention(*tensors, **settings).asnumpy()
    expected = ifa_fusion.reference.incre_flash_attention(query, key, value, **settings)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
    print("installed and working:", sys.prefix)
