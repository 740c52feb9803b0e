import mindspore as ms
import pytest

import ifa_fusion


@pytest.fixture(autouse=True)
def graph_mode(monkeypatch, tmp_path):
    """Graph mode, fusion off, in a folder of its own: MindSpore writes there when it fails to compile."""
    monkeypatch.chdir(tmp_path)
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    ifa_fusion.disable()
    ifa_fusion.report(reset=True)
    yield
    ifa_fusion.disable()
    ms.set_context(mode=before)
