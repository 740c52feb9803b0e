"""Shared by all tests."""

import gc
import os

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """MindSpore collects garbage at each compilation: spare it what the imports, and the modules before, left."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With IFA_FUSION_NO_SKIPS=1 a skipped test fails the run: what tests need is part of the set-up."""
    if os.environ.get("IFA_FUSION_NO_SKIPS") != "1" or exitstatus != 0:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped:
        reporter.write_line(f"{len(skipped)} tests were skipped, and IFA_FUSION_NO_SKIPS=1 forbids it", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
