"""Runs a command in several processes on this machine, as `msrun` starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(count: int, folder: Path, *command: str) -> tuple[int, list[str]]:
    """Run `command` in `folder`: the exit code, and what each process wrote."""
    msrun = [str(Path(sys.executable).with_name("msrun")), f"--worker_num={count}", f"--local_worker_num={count}"]
    msrun += ["--join=True", f"--master_port={free_port()}", "--log_dir=log", *command]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": path}
    run = subprocess.run(msrun, cwd=folder, env=environment, capture_output=True, timeout=300)
    return run.returncode, [(folder / "log" / f"worker_{i}.log").read_text() for i in range(count)]
