"""Networks that several processes run together, as `msrun` starts them."""

from __future__ import annotations

import re

from launching import launch

WORKER = """
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.communication import get_rank, init

import ifa_fusion
from models.build import build_model
from models.config import PRESETS


class Summed(nn.Cell):
    def __init__(self):
        super().__init__()
        self.decoder = build_model(PRESETS["tiny-llama"], 3, capacity=8)
        self.sum = ops.AllReduce()

    def construct(self, token, position):
        return self.sum(self.decoder(token, position))


def logits():
    network, tokens = Summed(), np.random.default_rng(get_rank()).integers(0, 128, (4, 1, 1), np.int32)
    return [network(Tensor(token), Tensor(i, ms.int32)).asnumpy() for i, token in enumerate(tokens)]


ms.set_context(mode=ms.GRAPH_MODE)
init()
expected = logits()
with ifa_fusion.fusion():
    got = logits()
np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
print("rank", get_rank(), [site.reason for site in ifa_fusion.report().sites])
"""


def test_every_process_fuses_its_decoder(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    code, logs = launch(2, tmp_path, "worker.py")
    assert code == 0, "".join(logs)
    ranks = [re.findall(r"^rank .*", log, re.MULTILINE) for log in logs]
    assert ranks == [[f"rank {i} ['fused', 'fused']"] for i in range(2)]
