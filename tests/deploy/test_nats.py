"""deploy/nats.conf, run by three real servers."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest

from conftest import DEPLOY, ROOT, free_port, replaced, until
from test_compose import read

VERSIONS = ["2.15.1", "2.12.8"]

# What the health check of compose.yaml asks.
HEALTHY = read("compose.yaml")["services"]["nats-1"]["healthcheck"]["test"][-1].partition(":8222")[2]


@pytest.fixture(params=VERSIONS)
def server(request):
    return ROOT / f".make/nats/{request.param}/nats-server"


def configured(folder, number, ports, change=str):
    """The configuration of one of the three servers: the files as they are but for `change`, with addresses of this machine."""
    home = folder / f"nats-{number}"
    home.mkdir()
    client, monitor, route = ports[number]
    changes = {
        '"0.0.0.0:4222"': f'"127.0.0.1:{client}"',
        '"0.0.0.0:8222"': f'"127.0.0.1:{monitor}"',
        '"0.0.0.0:6222"': f'"127.0.0.1:{route}"',
        '"/data"': f'"{home}/data"',
    }
    (home / "nats.conf").write_text(change(replaced((DEPLOY / "nats.conf").read_text(), changes)))
    addresses = {f"@nats-{n}:6222": f"@127.0.0.1:{ports[n][2]}" for n in ports}
    (home / "nats-logins.conf").write_text(replaced((folder / "secrets/nats-logins.conf").read_text(), addresses))
    return home / "nats.conf"


def ask(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except OSError:
        return {}


def start_cluster(tmp_path, server, start, change=str):
    """Starts the three, and returns the ports of each: for clients, for looking at it, for the others; and the processes."""
    subprocess.run([DEPLOY / "make-secrets", tmp_path / "secrets"], check=True, stdout=subprocess.DEVNULL)
    ports = {number: (free_port(), free_port(), free_port()) for number in (1, 2, 3)}
    processes = [
        start(server, "--config", configured(tmp_path, number, ports, change), NATS_NAME=f"nats-{number}") for number in ports
    ]
    return ports, processes


@pytest.fixture
def cluster(tmp_path, server, start):
    return start_cluster(tmp_path, server, start)[0]


def test_the_server_takes_the_file_as_it_is(tmp_path, server):
    subprocess.run([DEPLOY / "make-secrets", tmp_path], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "nats.conf").write_text((DEPLOY / "nats.conf").read_text())
    checked = subprocess.run(
        [server, "-t", "--config", tmp_path / "nats.conf"], env={"NATS_NAME": "nats-1"}, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_three_of_them_are_a_cluster_with_jetstream_that_takes_the_largest_event(cluster):
    for _, monitor, _ in cluster.values():
        until("JetStream", lambda: ask(monitor, HEALTHY).get("status") == "ok")
        until("the cluster", lambda: ask(monitor, "/jsz").get("meta_cluster", {}).get("cluster_size") == 3)
        about = ask(monitor, "/varz")
        # limits.event_data and what belongs to an event.
        assert about["max_payload"] >= (1 << 20) + (64 << 10)
        assert about["auth_required"] is True


def test_the_health_check_says_no_to_one_that_is_alone(tmp_path, server, start):
    ports, (alone, *others) = start_cluster(tmp_path, server, start)
    monitor = ports[1][1]
    until("JetStream", lambda: ask(monitor, HEALTHY).get("status") == "ok")
    for other in others:
        other.kill()
    until("it to notice", lambda: ask(monitor, HEALTHY).get("status") == "unavailable")
    assert alone.poll() is None


def test_who_does_not_know_the_password_is_sent_away(cluster):
    import socket

    client, monitor, _ = cluster[1]
    until("the server", lambda: ask(monitor, "/healthz?js-enabled-only=true").get("status") == "ok")


    def answer():
        with socket.create_connection(("127.0.0.1", client), 60) as connection:
            said = connection.makefile("rb")
            assert said.readline().startswith(b"INFO ")
            connection.sendall(b'CONNECT {"user":"tidings","pass":"guessed","verbose":false}\r\nPING\r\n')
            line = said.readline()
            # Where this stood still, it has waited for long enough for the password.
            return b"" if b"Authentication Timeout" in line else line

    assert b"Authorization Violation" in until("an answer", answer)
