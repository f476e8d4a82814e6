"""PyPI httpx-sse: what its documentation shows, a loop that resumes with the last id it saw."""

import json
import threading

import httpx
from httpx_sse import connect_sse

from conftest import until


class Listener:
    """Listens until stopped, and again with Last-Event-ID whenever the stream ends."""

    def __init__(self, url):
        self.url = url
        self.numbers = []
        self.running = True
        self.errors = []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        last_id = ""
        while self.running:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                # The timeout is longer than the time between two heartbeats.
                with httpx.Client(timeout=httpx.Timeout(60)) as client:
                    with connect_sse(client, "GET", self.url, headers=headers) as source:
                        for event in source.iter_sse():
                            last_id = event.id or last_id
                            if event.event == "counted":
                                self.numbers.append(json.loads(event.data)["n"])
                            if not self.running:
                                return
            except httpx.TransportError:
                pass
            except Exception as error:  # anything else is a finding
                self.errors.append(error)
                return

    def grows(self, more=20):
        goal = len(self.numbers) + more
        until(lambda: f"{goal} events; {len(self.numbers)} came, {self.errors}", lambda: len(self.numbers) >= goal)

    def reaches(self, n):
        until(lambda: f"number {n}, {self.errors}", lambda: self.numbers and self.numbers[-1] >= n)

    def assert_unbroken(self):
        first = self.numbers[0]
        assert self.numbers == list(range(first, first + len(self.numbers)))


def test_httpx_sse_resumes_after_cuts_and_a_crash_without_gap_or_duplicate(hub, proxy, counter):
    listener = Listener(f"{proxy.url}/v1/events?topic=count/*")
    listener.grows()
    proxy.cut()
    listener.grows()
    hub.crash()
    listener.grows()
    proxy.cut()
    listener.grows()
    last = counter.stop()
    listener.reaches(last)
    listener.running = False
    listener.assert_unbroken()
    assert listener.numbers[-1] == last


def test_a_python_script_can_poll_instead_of_streaming(hub):
    with httpx.Client(base_url=hub.url, timeout=60) as client:
        cursor = client.get("/v1/poll", params={"topic": "count/*"}).json()["cursor"]
        events = [{"name": "counted", "topic": "count/here", "data": {"n": n}} for n in (1, 2, 3)]
        assert client.post("/v1/publish", json=events).status_code == 200
        seen = []
        while len(seen) < 3:
            page = client.get("/v1/poll", params={"topic": "count/*", "cursor": cursor, "wait": "10"}).json()
            seen += [event["data"]["n"] for event in page["events"]]
            cursor = page["cursor"]
        assert seen == [1, 2, 3]
