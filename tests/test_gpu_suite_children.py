"""Budgets of `smartrt bench gpu`, and the processes that are held to them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from smartrt.benchmarks.deadline import NEVER, Deadline
from smartrt.benchmarks.gpu.children import run_together
from smartrt.errors import SmartrtError


def test_a_budget_that_is_used_up_ends_the_part() -> None:
    deadline = Deadline.of(0.0)
    assert deadline.left == 0
    with pytest.raises(SmartrtError, match="after its budget of 0 s"):
        deadline.check()
    Deadline.of(60.0).check()
    NEVER.check()
    assert NEVER.left > 1e9


def test_a_silent_process_is_not_waited_for_beyond_the_deadline() -> None:
    """As the compiler of TensorRT: who reads its output hears nothing, and `with` would wait for its end."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        with pytest.raises(SmartrtError, match=r"budget of 0\.3 s"), Deadline.of(0.3).interrupting(), process:
            process.stdout.read()  # type: ignore[union-attr]
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.wait()
    with NEVER.interrupting():
        pass
    with pytest.raises(KeyboardInterrupt), Deadline.of(60).interrupting():
        raise KeyboardInterrupt  # the user's own stays one


def test_processes_run_side_by_side_with_their_share_of_the_cores() -> None:
    script = "import os, time; time.sleep(0.3); print(os.environ['OMP_NUM_THREADS'])"
    began = time.monotonic()
    done = run_together({name: ["-c", script] for name in "abc"}, Deadline.of(20), cores=7)
    assert time.monotonic() - began < 3 * 0.3 + 5
    assert [(each.code, each.text.strip()) for each in done.values()] == [(0, "2")] * 3


def test_a_process_that_fails_says_its_last_line_and_one_that_hangs_is_ended_with_its_children() -> None:
    hang = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    fail = "import sys; print('first'); sys.exit('smartrt: last')"
    began = time.monotonic()
    done = run_together({"hang": ["-c", hang], "fail": ["-c", fail]}, Deadline.of(0.8), cores=2)
    assert time.monotonic() - began < 10
    assert done["fail"].reason == "exit code 1: smartrt: last"
    assert done["hang"].code is None
    assert "budget" in done["hang"].reason


def test_processes_beyond_the_deadline_fail_alone_and_in_their_order(tmp_path: Path) -> None:
    """What was finished in time is kept: the first does its work, the second hangs, the third never begins."""
    write = f"import pathlib; pathlib.Path({str(tmp_path / 'made')!r}).touch()"
    commands = {"first": ["-c", write], "hangs": ["-c", "import time; time.sleep(60)"], "third": ["-c", write]}
    done = run_together(commands, Deadline.of(0.8), cores=4, at_once=1)
    assert list(done) == list(commands)
    assert (done["first"].code, (tmp_path / "made").exists()) == (0, True)
    assert "ended after" in done["hangs"].reason
    assert done["third"].reason.startswith("not started")
