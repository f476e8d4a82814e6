"""The program under test, a proxy that cuts, and a publisher that counts: what tests/e2e/harness is to Node."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from ports import free_port  # noqa: E402

BINARY = os.environ.get("TIDINGS_BINARY", str(ROOT / "target/debug/tidings"))


def until(what, condition, seconds=60):
    """Asks again and again until the condition holds, and says what did not come in time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what() if callable(what) else what}")
        time.sleep(0.01)


class Hub:
    def __init__(self, home):
        self.data = os.path.join(home, "data")
        self.port = free_port()
        self.output = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Starts the program, on the port it had before, and waits until it listens."""
        self.process = subprocess.Popen(
            [BINARY, "serve", "--dev", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        listening = threading.Event()
        self.is_up = False

        def read(stream):
            for line in stream:
                self.output.append(line)
                if match := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                    self.is_up = int(match[1]) == self.port
                    listening.set()
            listening.set()

        threading.Thread(target=read, args=(self.process.stdout,), daemon=True).start()
        said = lambda: "".join(self.output)
        assert listening.wait(60), f"the hub did not listen in time; it said:\n{said()}"
        assert self.is_up, f"the hub ended before it listened:\n{said()}"

    def kill(self):
        """Ends it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def crash(self):
        self.kill()
        self.start()


class Proxy:
    """A TCP proxy that can be told to cut every connection."""

    def __init__(self, hub):
        self.hub = hub
        self.sockets = set()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(("127.0.0.1", self.hub.port))
            except OSError:
                client.close()
                continue
            self.sockets |= {client, upstream}
            for source, target in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pipe, args=(source, target), daemon=True).start()

    def _pipe(self, source, target):
        try:
            while piece := source.recv(65536):
                target.sendall(piece)
        except OSError:
            pass
        for end in (source, target):
            self._close(end)

    def _close(self, end):
        self.sockets.discard(end)
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()

    def cut(self):
        for end in list(self.sockets):
            self._close(end)

    def stop(self):
        self.server.close()
        self.cut()


class Counter:
    """Publishes 1, 2, 3… until stopped; a number without an answer is sent again under its Idempotency-Key."""

    def __init__(self, hub):
        self.hub = hub
        self.last = 0
        self.running = True
        self.abandoned = False
        self.refused = None
        self.run = uuid.uuid4().hex
        self.thread = threading.Thread(target=self._count, daemon=True)
        self.thread.start()

    def _count(self):
        with httpx.Client(timeout=60) as client:
            while self.running and self._publish(client, self.last + 1):
                self.last += 1
                time.sleep(0.005)

    def _publish(self, client, n):
        """Whether it is there. It is tried until that is known, also by who stops: it may be there though nobody was told."""
        body = json.dumps({"name": "counted", "topic": "count/here", "data": {"n": n}})
        headers = {"content-type": "application/json", "idempotency-key": f"{self.run}-{n}"}
        while not self.abandoned:
            try:
                answer = client.post(f"{self.hub.url}/v1/publish", content=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.01)  # down: the same number again
                continue
            if answer.status_code == 200:
                return True
            if 400 <= answer.status_code < 500 and answer.status_code != 409:  # 409: still under way
                self.refused = answer.text
                return False
            time.sleep(0.005)
        return False

    def stop(self):
        self.running = False
        self.thread.join()
        assert self.refused is None, self.refused
        return self.last


@pytest.fixture
def hub():
    home = tempfile.mkdtemp(prefix="tidings-e2e-")
    hub = Hub(home)
    hub.start()
    yield hub
    hub.kill()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def proxy(hub):
    proxy = Proxy(hub)
    yield proxy
    proxy.stop()


@pytest.fixture
def counter(hub):
    counter = Counter(hub)
    yield counter
    counter.running, counter.abandoned = False, True
