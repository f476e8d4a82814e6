"""PyPI python-socketio: both of its clients come back to their place, which they tell in the payload of CONNECT."""

import asyncio
import threading
from functools import partial

import httpx
import pytest
import socketio

from conftest import until

# It takes no more than 16 packets in the answer to one poll: with more it gives up, comes back, and is given as many again.
OPTIONS = dict(reconnection_delay=0.05, reconnection_delay_max=0.1, randomization_factor=0.02, request_timeout=60)
# Of its own it waits a second for each namespace, and gives up then.
PATIENCE = 30


class Place:
    """What a client remembers: the place of the newest event that it has seen, and what it asks for."""

    def __init__(self, cursor=None):
        self.auth = {"topics": ["count/*"], "cursor": cursor}
        self.numbers = []
        self.gaps = []
        self.connects = 0
        self.disconnects = []
        self.lock = threading.Lock()

    def register(self, client):
        client.on("connect", self.connected)
        client.on("disconnect", self.disconnects.append)
        client.on("counted", self.counted)
        client.on("tidings.open", self.opened)
        client.on("tidings.gap", lambda gap, cursor: self.gaps.append(gap))

    def connected(self):
        self.connects += 1

    def opened(self, data, cursor):
        with self.lock:
            # Once there were events the place is theirs: the opening of a client that resumes says the same.
            if not self.numbers:
                self.auth["cursor"] = cursor

    def counted(self, data, cursor):
        with self.lock:
            # The client that is not asynchronous handles each event in a thread of its own: a later one may come first.
            if not self.numbers or data["n"] > max(self.numbers):
                self.auth["cursor"] = cursor
            self.numbers.append(data["n"])

    def grows(self, more=20):
        goal = len(self.numbers) + more
        until(lambda: f"{goal} events; {len(self.numbers)} came", lambda: len(self.numbers) >= goal)

    def reaches(self, n):
        until(lambda: f"number {n}; {self.numbers[-1:]} came last", lambda: n in self.numbers)


class Threaded(Place):
    def __init__(self, url, transports, cursor):
        super().__init__(cursor)
        self.client = socketio.Client(**OPTIONS)
        # Also when it comes back.
        self.client.connect = partial(self.client.connect, wait_timeout=PATIENCE)
        self.register(self.client)
        self.client.connect(url, auth=lambda: self.auth, transports=transports)

    def transport(self):
        return self.client.transport()

    def in_order(self):
        return sorted(self.numbers)

    def stop(self):
        self.client.disconnect()


class Asynchronous(Place):
    def __init__(self, url, transports, cursor):
        super().__init__(cursor)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(self._connect(url, transports))

    async def _connect(self, url, transports):
        self.client = socketio.AsyncClient(**OPTIONS)
        self.client.connect = partial(self.client.connect, wait_timeout=PATIENCE)
        self.register(self.client)
        await self.client.connect(url, auth=lambda: self.auth, transports=transports)

    def run(self, future):
        return asyncio.run_coroutine_threadsafe(future, self.loop).result(60)

    def transport(self):
        return self.client.transport()

    def in_order(self):
        return self.numbers

    def stop(self):
        self.run(self.client.disconnect())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)


@pytest.fixture(params=[Threaded, Asynchronous], ids=["Client", "AsyncClient"])
def listen(request):
    opened = []

    def listen(url, transports=None, cursor=None):
        opened.append(request.param(url, transports, cursor))
        return opened[-1]

    yield listen
    for listener in opened:
        listener.stop()


@pytest.mark.parametrize(
    "transports", [["websocket"], ["polling"], None], ids=["websocket", "polling", "both"]
)
def test_python_socketio_resumes_after_cuts_and_a_crash_without_gap_or_duplicate(hub, proxy, counter, listen, transports):
    listener = listen(proxy.url, transports)
    for cut in proxy.cut, hub.crash, proxy.cut:
        listener.grows()
        before = listener.connects
        cut()
        # What it had heard before may be told after the cut. A cut between two polls is not noticed: nothing was under way.
        if transports != ["polling"]:
            until("it to come back", lambda: listener.connects > before)
    listener.grows()
    last = counter.stop()
    listener.reaches(last)
    numbers = listener.in_order()
    assert numbers == list(range(numbers[0], last + 1))
    assert listener.gaps == []
    if transports == ["polling"]:
        # The crash, at least.
        assert listener.connects >= 2
    assert listener.transport() == ("polling" if transports == ["polling"] else "websocket")


@pytest.mark.parametrize(
    "transports", [["websocket"], ["polling"], None], ids=["websocket", "polling", "both"]
)
def test_python_socketio_is_told_a_long_past(hub, listen, transports):
    events = [{"name": "counted", "topic": "count/here", "data": {"n": n}} for n in range(1, 501)]
    assert httpx.post(f"{hub.url}/v1/publish", json=events).status_code == 200
    listener = listen(hub.url, transports, cursor="earliest")
    listener.reaches(500)
    assert listener.in_order() == list(range(1, 501))
    assert listener.connects == 1


def test_python_socketio_publishes_and_is_answered(hub, listen):
    listener = listen(hub.url)
    event = {"name": "counted", "topic": "count/here", "data": {"n": 1}}
    if isinstance(listener, Threaded):
        answer = listener.client.call("publish", {"id": "a", "event": event}, timeout=60)
    else:
        answer = listener.run(listener.client.call("publish", {"id": "a", "event": event}, timeout=60))
    listener.reaches(1)
    assert answer["type"] == "published"
    assert answer["results"] == [{"cursor": listener.auth["cursor"]}]
