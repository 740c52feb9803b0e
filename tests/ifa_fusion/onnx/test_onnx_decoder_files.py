"""Of every architecture there is a file by each exporter, with each attention, in each type; all are small together."""

from __future__ import annotations

import itertools

from decoder_table import FILES, maker_of, parts_of

NO_SDPA = {"bloom", "gemma2", "gptj", "mpt"}  # in transformers; export_decoders.py gives what it says


def test_every_combination_has_a_file():
    made = {(*maker_of(path), *parts_of(path)[2:]) for path in FILES}
    architectures = {architecture for architecture, *_ in made}
    combinations = itertools.product(architectures, ("torchscript", "dynamo"), ("eager", "sdpa"), ("fp32", "fp16"))
    assert len(architectures) == 24
    assert made == {each for each in combinations if each[2] == "eager" or each[0] not in NO_SDPA}


def test_all_files_are_under_10_mb():
    assert sum(path.stat().st_size for path in FILES) < 10_000_000
