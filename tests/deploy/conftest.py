"""What the tests of deploy/ have in common: where things are, free ports, programs that are ended, and waiting for a condition."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

sys.path.insert(0, str(ROOT / "tests"))
from ports import free_port  # noqa: E402, F401


def until(what, condition, seconds=60):
    """Waits until the condition holds, and returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what() if callable(what) else what}"
        time.sleep(0.02)
    return found


def replaced(text: str, changes: dict) -> str:
    """The text with each of the changes, which has to be there."""
    for old, new in changes.items():
        assert old in text, f"it has {old!r}"
        text = text.replace(old, new)
    return text


@pytest.fixture
def start(tmp_path):
    """Starts a program whose words go to a file; ends it behind the test. Call it with the command and further variables."""
    running = []

    def start(*command, **environment):
        said = tmp_path / f"said-{len(running)}"
        with said.open("wb") as out:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **environment},
            )
        child.said = said.read_text
        running.append(child)
        return child

    yield start
    for child in running:
        child.terminate()
    for child in running:
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
