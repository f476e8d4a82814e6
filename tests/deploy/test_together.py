"""The files of deploy/compose.yaml together, without containers: three NATS servers, two hubs and nginx."""

import http.client
import json
import os
import re
import socket
import subprocess
import threading

import pytest

from conftest import DEPLOY, ROOT, free_port, replaced, until
from test_compose import read
from test_nats import HEALTHY, start_cluster
from test_nats import ask as look
from test_nginx import PROGRAMS, Names

HUB = ROOT / "target/debug/tidings"
KEY = "tdg_a-key-for-the-tests-of-deploy-and-of-nobody-else"
KEYS = f"""
[[auth.sources]]
kind = "api-key"
keys = [{{ name = "all", value = "{KEY}", publish = true, grants = ["**"] }}]
"""
EVENT = json.dumps({"name": "counted", "topic": "count/here", "data": {"n": 1}})
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def least_rights(text):
    """The configuration of NATS with the login that docs/scale.md describes."""
    shown = re.search(r"^permissions: \{.*?^\}", (ROOT / "docs/scale.md").read_text(), re.DOTALL | re.MULTILINE)[0]
    return replaced(text, {"password: $HUB_PASSWORD }": f"password: $HUB_PASSWORD, {shown} }}"})


class Hub:
    """A replica. One that ends by itself is started again, as compose.yaml says (`restart: unless-stopped`)."""

    def __init__(self, address, given, start):
        self.address, self.given = address, given
        self.start = lambda: start(HUB, "serve", "--listen", f"{address[0]}:{address[1]}", **given)
        self.process, self.ended = self.start(), 0

    def make_key(self, name):
        """As the head of compose.yaml says, within the container."""
        command = [HUB, "key", "create", "--name", name, "--publish"]
        made = subprocess.run(command, env={**os.environ, **self.given}, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        return re.search(r"tdg_\S+", made.stdout)[0]

    def publishes(self, key):
        return status(self.address, "/v1/publish", "POST", EVENT, key) in (200, 201)

    def is_ready(self):
        if self.process.poll() is not None:
            self.ended += 1
            assert self.ended < 1, self.process.said()
            self.process = self.start()
        return status(self.address, "/ready") == 200


@pytest.fixture
def stand(request, tmp_path, start):
    """The address of nginx, the hubs, and the processes of NATS."""
    ports, nats = start_cluster(tmp_path, ROOT / ".make/nats/2.15.1/nats-server", start, least_rights)
    settings = replaced(
        (DEPLOY / "server-replicas.toml").read_text(),
        {f"nats-{number}:4222": f"127.0.0.1:{client}" for number, (client, _, _) in ports.items()},
    )
    (tmp_path / "server.toml").write_text(settings + KEYS)

    # As compose.yaml waits for them.
    for _, monitor, _ in ports.values():
        until("JetStream", lambda: look(monitor, HEALTHY).get("status") == "ok")

    port = free_port()
    hubs = []
    for number in (1, 2):
        given = dict(read("compose.yaml")["services"][f"tidings-{number}"]["environment"])
        given["TIDINGS_CONFIG"] = str(tmp_path / "server.toml")
        given["TIDINGS_DATA__DIR"] = str(tmp_path / f"data-{number}")
        given["TIDINGS_BROKER__NATS__PASSWORD_FILE"] = str(tmp_path / "secrets/nats-password")
        hubs.append(Hub((f"127.0.0.{number + 1}", port), given, start))

    own = free_port()
    names = Names({"tidings-1": "127.0.0.2", "tidings-2": "127.0.0.3"})
    request.addfinalizer(names.socket.close)
    changes = {
        "listen 80;": f"listen 127.0.0.1:{own};",
        "worker_processes auto;": f"pid {tmp_path}/nginx.pid; {'user root;' if os.getuid() == 0 else ''}",
        "worker_rlimit_nofile 131072;": "",
        "worker_connections 65536;": "worker_connections 1024;",
        "http {": f"http {{ proxy_temp_path {tmp_path}/proxy; client_body_temp_path {tmp_path}/body;",
        ":8090 ": f":{port} ",
        "resolver 127.0.0.11": f"resolver 127.0.0.1:{names.port}",
    }
    (tmp_path / "nginx.conf").write_text(replaced((DEPLOY / "nginx-replicas.conf").read_text(), changes))
    start(PROGRAMS["newer"], "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf", "-g", "daemon off;")

    for hub in hubs:
        until(lambda: f"{hub.address} to be ready: {hub.process.said()}", hub.is_ready)
    until("nginx to find them", lambda: status(("127.0.0.1", own), "/ready") == 200)
    nats[0].login = ports[1][0], (tmp_path / "secrets/nats-password").read_text()
    return ("127.0.0.1", own), hubs, nats


def status(address, path, method="GET", body=None, key=KEY, more={}):
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request(method, path, body=body, headers={**HEADERS, "Authorization": f"Bearer {key}", **more})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def remove_stream(login, name):
    """By the protocol of NATS: a request is a message with the subject for its answer."""
    port, password = login

    def answer():
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            lines = connection.makefile("rb")
            lines.readline()
            hello = json.dumps({"user": "tidings", "pass": password, "verbose": False})
            request = f"PUB $JS.API.STREAM.DELETE.{name} _INBOX.a 0\r\n\r\n"
            connection.sendall(f"CONNECT {hello}\r\nSUB _INBOX.a 1\r\n{request}".encode())
            while not (said := lines.readline()).startswith(b"{"):
                # Where this stood still, it has waited for long enough for the password.
                if b"Authentication Timeout" in said:
                    return b""
                assert said and not said.startswith(b"-ERR"), said
            return said

    said = until("an answer", answer)
    assert json.loads(said).get("success"), said


def first_words(address, cursor=None):
    """What a stream begins with: the event that is not a comment, and its id."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    resume = {"Last-Event-ID": cursor} if cursor else {}
    connection.request("GET", "/v1/events?topic=count/*", headers={**HEADERS, **resume})
    name = None
    try:
        for line in connection.getresponse():
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            if line.startswith(b"id: "):
                return name, line[4:].strip().decode()
    finally:
        connection.close()


def listen(address, heard):
    """Puts the numbers that this replica tells into the list; returns when the stream is where it begins."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("GET", "/v1/events?topic=count/*", headers=HEADERS)
    answer = connection.getresponse()
    assert answer.status == 200
    assert any(line.strip() == b"event: tidings.open" for line in answer)

    def read():
        try:
            for line in answer:
                if line.startswith(b"data: ") and b'"n"' in line:
                    heard.append(json.loads(line[6:])["n"])
        except (OSError, ValueError, http.client.HTTPException):
            pass

    threading.Thread(target=read, daemon=True).start()


def test_what_is_published_through_the_proxy_is_told_by_both_and_nats_has_nothing_to_refuse(stand):
    proxy, hubs, nats = stand
    heard = [[], []]
    for hub, into in zip(hubs, heard):
        listen(hub.address, into)
    for number in range(100):
        body = json.dumps({"name": "counted", "topic": "count/here", "data": {"n": number}})
        # NATS may choose another leader where the machine stands still: it is sent again, as publishers do.
        once = {"Idempotency-Key": f"number-{number}"}
        until("it to be taken", lambda: status(proxy, "/v1/publish", "POST", body, more=once) in (200, 201))
    for into in heard:
        until(lambda: f"all to be heard, and not {into}", lambda: len(into) == 100)
        assert into == list(range(100))
    # A job, its file and its token use the rest of what the replicas share.
    job = json.dumps({"kind": "import", "input": {"a": 1}})
    assert status(hubs[0].address, "/v1/jobs", "POST", job) in (200, 201, 202)
    refused = [line for each in nats for line in each.said().splitlines() if "Violation" in line]
    assert refused == []


def test_a_key_that_is_made_beside_one_replica_opens_both(stand):
    _, hubs, _ = stand
    key = hubs[0].make_key("myapp")
    for hub in hubs:
        until("the key to count", lambda: hub.publishes(key))
        assert status(hub.address, "/v1/publish", "POST", EVENT, key + "x") == 401


def test_when_a_hub_stops_the_proxy_sends_everything_to_the_other(stand):
    proxy, hubs, _ = stand
    hubs[0].process.terminate()
    # The grace of compose.yaml.
    assert hubs[0].process.wait(45) == 0
    for _ in range(20):
        assert status(proxy, "/v1/publish", "POST", EVENT) in (200, 201)
        assert status(proxy, "/ready") == 200


def test_a_log_that_is_left_out_of_a_restore_is_begun_anew_and_cursors_of_the_old_one_are_told_of_a_gap(stand):
    _, hubs, nats = stand
    key = hubs[0].make_key("kept")
    until("the key to count", lambda: hubs[0].publishes(key))
    opened, cursor = first_words(hubs[0].address)
    assert opened == "tidings.open" and first_words(hubs[1].address, cursor)[0] == "tidings.open"

    # As docs/scale.md says: all replicas are stopped, the buckets are there, the log is not.
    for hub in hubs:
        hub.process.terminate()
    for hub in hubs:
        hub.process.wait(45)
    remove_stream(nats[0].login, "TIDINGS_hub")
    for hub in hubs:
        hub.ended = -1
        until(lambda: f"{hub.address} to be ready: {hub.process.said()}", hub.is_ready)
    for hub in hubs:
        assert first_words(hub.address, cursor)[0] == "tidings.gap"
        # What the buckets hold still counts.
        assert hub.publishes(key)
