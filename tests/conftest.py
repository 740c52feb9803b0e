"""Shared by all tests."""

import gc
import os
import random
from collections import defaultdict

import pytest

#: Of a grid's cases every n-th is run.
EVERY = int(os.environ.get("IFA_TEST_EVERY", "1"))
#: A test with fewer cases is run whole.
LEAST = 6


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, with IFA_TEST_EVERY=n, all but an n-th of the cases of each test that is marked `grid`.

    Which ones is drawn from the test's name, so that all workers, and all runs, take the same.
    """
    if EVERY == 1:
        return
    grids = defaultdict(list)
    for item in items:
        if item.get_closest_marker("grid"):
            grids[item.nodeid.partition("[")[0]].append(item)
    left_out: set[pytest.Item] = set()
    for name, cases in grids.items():
        if len(cases) >= LEAST:
            left_out.update(random.Random(name).sample(cases, len(cases) - -(-len(cases) // EVERY)))
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


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
