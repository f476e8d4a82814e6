"""deploy/nginx-replicas.conf, run by nginx in front of two stand-ins that say who they are."""

import http.client
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import DEPLOY, free_port, replaced, until


class Replica(ThreadingHTTPServer):
    """Answers with its name and with what it was asked."""

    daemon_threads = True

    def __init__(self, name):
        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                length = int(self.headers.get("content-length", 0))
                self.rfile.read(length)
                self.server.heard.append((self.command, self.path, dict(self.headers)))
                body = name.encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

        super().__init__(("127.0.0.1", 0), Answer)
        self.heard = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def stop(self):
        self.shutdown()
        self.server_close()


@pytest.fixture
def replicas():
    both = [Replica("one"), Replica("two")]
    yield both
    for replica in both:
        replica.stop()


@pytest.fixture
def nginx(tmp_path, start, replicas):
    port = free_port()
    text = (DEPLOY / "nginx-replicas.conf").read_text()
    # Debian's nginx is older than `resolve`, and the addresses are known here: the rest is run as it is.
    changes = {
        " resolve;": ";",
        "tidings-1:8090": f"127.0.0.1:{replicas[0].port}",
        "tidings-2:8090": f"127.0.0.1:{replicas[1].port}",
        "listen 80;": f"listen 127.0.0.1:{port};",
        "worker_processes auto;": f"worker_processes 2; pid {tmp_path}/nginx.pid; {'user root;' if os.getuid() == 0 else ''}",
        "worker_rlimit_nofile 131072;": "",
        "worker_connections 65536;": "worker_connections 1024;",
        "http {": "http { "
        + " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        + f" client_body_temp_path {tmp_path}/body;",
    }
    (tmp_path / "nginx.conf").write_text(replaced(text, changes))
    child = start("nginx", "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf", "-g", "daemon off;")

    def listens():
        assert child.poll() is None, child.said()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    until(lambda: f"nginx to listen: {child.said()}", listens)
    return port


def ask(port, path, method="GET", source="127.0.0.1", headers={}, body=None):
    """The status, and who answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


POLLING = "/socket.io/?EIO=4&transport=polling"


def test_the_requests_of_one_polling_session_reach_one_replica_and_other_clients_the_other(nginx):
    by_address = {}
    for last in range(1, 41):
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
