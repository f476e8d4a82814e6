"""deploy/compose.yaml and compose.single.yaml, against the schema of the format and against what the hub needs."""

import json
import os
import re
import subprocess
import tomllib

import jsonschema
import pytest
import yaml

from conftest import DEPLOY, ROOT

FILES = ["compose.yaml", "compose.single.yaml"]
SINGLE, REPLICAS = "compose.single.yaml", "compose.yaml"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_compose_takes(name):
    schema = json.loads((ROOT / ".make/deploy/compose-spec.json").read_text())
    # The package is older than this word of depends_on (Compose 2.20).
    dependency = schema["definitions"]["service"]["properties"]["depends_on"]["oneOf"][1]["patternProperties"]
    dependency["^[a-zA-Z0-9._-]+$"]["properties"]["required"] = {"type": "boolean"}
    jsonschema.Draft201909Validator(schema).validate(read(name))


@pytest.mark.parametrize("name", FILES)
def test_whatever_a_service_names_is_there(name):
    file = read(name)
    for service in file["services"].values():
        for dependency, how in service.get("depends_on", {}).items():
            needed = file["services"][dependency]
            assert how["condition"] != "service_healthy" or "healthcheck" in needed, dependency
        for network in service.get("networks", []):
            assert network in file["networks"]
        for secret in service.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in file["secrets"]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                # The settings of one machine are the reader's own.
                assert (DEPLOY / source).is_file() or (name, source) == (SINGLE, "./server.toml")
            else:
                assert source in file["volumes"]


@pytest.mark.parametrize("name", FILES)
def test_every_container_has_no_more_rights_than_it_needs(name):
    for service in read(name)["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service and "user" not in service.get("environment", {})


def test_a_replica_that_stops_has_the_time_to_send_its_streams_away():
    settings = tomllib.loads((DEPLOY / "server-replicas.toml").read_text())
    window = seconds(settings["limits"]["drain_window"])
    for name in ["tidings-1", "tidings-2"]:
        # Twice the window for the streams, once for the last requests.
        assert seconds(read(REPLICAS)["services"][name]["stop_grace_period"]) > 3 * window


def test_no_image_floats():
    for name in FILES:
        for service in read(name)["services"].values():
            image = service["image"]
            assert image == "tidings" or re.fullmatch(r"[a-z]+:\d+\.\d+-alpine", image), image


def test_no_secret_is_in_the_file_and_nats_is_not_reached_from_outside():
    file = read(REPLICAS)
    for name, service in file["services"].items():
        for variable in service.get("environment", {}):
            assert not re.search("PASSWORD|TOKEN|NKEY|SECRET", variable) or variable.endswith("_FILE"), variable
        assert "ports" not in service or name == "nginx"
        if name.startswith("nats"):
            assert service["networks"] == ["engine"]
    assert file["networks"]["engine"] == {"internal": True}


def test_the_replicas_are_alike():
    services = read(REPLICAS)["services"]
    assert services["tidings-1"] == services["tidings-2"]
    nats = [{k: v for k, v in services[f"nats-{n}"].items() if k not in ("environment", "volumes")} for n in (1, 2, 3)]
    assert nats[0] == nats[1] == nats[2]


def test_secrets_are_made_once_and_nobody_else_gets_into_their_folder(tmp_path):
    folder = tmp_path / "secrets"
    subprocess.run([DEPLOY / "make-secrets", folder], check=True)
    assert folder.stat().st_mode & 0o777 == 0o700
    password = (folder / "nats-password").read_text()
    assert len(password) == 48 and f'HUB_PASSWORD: "{password}"' in (folder / "nats-logins.conf").read_text()
    subprocess.run([DEPLOY / "make-secrets", folder], check=True)
    assert (folder / "nats-password").read_text() == password


def test_secrets_do_not_get_into_git_or_into_an_image(tmp_path):
    assert "/secrets" in (DEPLOY / ".gitignore").read_text().split()
    assert "deploy/secrets" in (DEPLOY / "Dockerfile.dockerignore").read_text().split()


def test_the_hub_takes_the_settings_of_the_replicas(tmp_path):
    service = read(REPLICAS)["services"]["tidings-1"]
    password = tmp_path / "password"
    password.write_text("a password")
    environment = {**os.environ, **service["environment"], "TIDINGS_BROKER__NATS__PASSWORD_FILE": str(password)}
    del environment["TIDINGS_CONFIG"]
    hub = ROOT / "target/debug/tidings"
    if not hub.exists():
        pytest.fail("target/debug/tidings is missing: cargo build -p tidings-server")
    checked = subprocess.run(
        [hub, "check-config", "--config", DEPLOY / "server-replicas.toml"], env=environment, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
