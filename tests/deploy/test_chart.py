"""deploy/helm/tidings, rendered by helm and held against the schemas of Kubernetes."""

import os
import subprocess

import kubernetes_validate
import pytest
import yaml

from conftest import DEPLOY, ROOT

CHART = DEPLOY / "helm/tidings"
HELM = ROOT / "tests/deploy/.venv/bin/helm"
HUB = ROOT / "target/debug/tidings"
# The oldest that Chart.yaml takes, and the newest that the schemas know.
KUBERNETES = ["1.25", "1.37"]

LEAST = {"nats": {"url": ["nats://nats.nats.svc:4222"]}}


def among(values, **more):
    """The values with more of them, table by table."""
    result = dict(values)
    for key, value in more.items():
        result[key] = among(result.get(key, {}), **value) if isinstance(value, dict) else value
    return result


EVERYTHING = among(
    LEAST,
    replicas=5,
    image={"repository": "registry.example.org/tidings", "tag": "1.2.3"},
    imagePullSecrets=[{"name": "registry"}],
    nats={
        "url": ["tls://a:4222", "tls://b:4222"],
        "hub": "shop",
        "copies": 3,
        "durability": "power-safe",
        "login": {"user": "tidings", "password": {"secret": "nats-login"}},
        "tls": {"required": True, "ca": {"secret": "nats-ca"}, "identity": {"secret": "hub-identity"}},
    },
    config='[log]\nformat = "json"\nlevel = "debug"\n',
    secrets={"jwt": "jwt-keys"},
    profiles="my-profiles",
    env=[{"name": "TIDINGS_LIMITS__CONNECTIONS", "value": "200000"}],
    drain={"delaySeconds": 10, "windowSeconds": 30},
    terminationGracePeriodSeconds=120,
    ingress={"enabled": True, "tls": [{"secretName": "live-tls", "hosts": ["live.example.org"]}]},
    autoscaling={"enabled": True, "minReplicas": 3, "maxReplicas": 20},
    podLabels={"team": "live"},
    priorityClassName="high",
    nodeSelector={"kubernetes.io/arch": "amd64"},
    tolerations=[{"key": "streams", "operator": "Exists"}],
    topologySpreadConstraints=[
        {"maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ],
    serviceAccount={"name": "tidings"},
)
CREDENTIALS = among(LEAST, nats={"login": {"credentials": {"secret": "hub-credentials"}}})
TOKEN = among(LEAST, nats={"login": {"token": {"secret": "hub-token", "key": "t"}}})
NKEY = among(LEAST, nats={"login": {"nkey": {"secret": "hub-nkey"}}})
BARE = among(
    LEAST,
    replicas=1,
    podDisruptionBudget={"enabled": False},
    ingress={"enabled": True, "sessions": {"paths": []}},
    podAnnotations={"prometheus.io/scrape": "false"},
)
ALL = {"least": LEAST, "everything": EVERYTHING, "credentials": CREDENTIALS, "token": TOKEN, "nkey": NKEY, "bare": BARE}
every = pytest.mark.parametrize("values", ALL.values(), ids=ALL)


def helm(tmp_path, values, *command):
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return subprocess.run(
        [HELM, *command, CHART, "--values", file],
        capture_output=True,
        text=True,
        # Nothing of whoever runs the tests.
        env={**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")},
    )


@pytest.fixture
def render(tmp_path):
    """The documents of a release named `live` in the namespace `apps`."""

    def render(values):
        rendered = helm(tmp_path, values, "template", "live", "--namespace", "apps")
        assert rendered.returncode == 0, rendered.stderr
        documents = [document for document in yaml.safe_load_all(rendered.stdout) if document]
        return {(document["kind"], document["metadata"]["name"]): document for document in documents}

    return render


@pytest.fixture
def refused(tmp_path):
    """Why values are refused."""

    def refused(**more):
        rendered = helm(tmp_path, among(LEAST, **more), "template", "live")
        assert rendered.returncode != 0, rendered.stdout
        return rendered.stderr

    return refused


def deployment(documents):
    return documents["Deployment", "live-tidings"]["spec"]


def pod(documents):
    return deployment(documents)["template"]["spec"]


def environment(documents):
    return {each["name"]: each for each in pod(documents)["containers"][0]["env"]}


@every
def test_helm_finds_nothing_to_complain_of(tmp_path, values):
    linted = helm(tmp_path, values, "lint", "--strict")
    assert linted.returncode == 0, linted.stdout


@every
@pytest.mark.parametrize("version", KUBERNETES)
def test_what_it_renders_is_what_kubernetes_takes(render, values, version):
    for document in render(values).values():
        assert document["metadata"]["namespace"] == "apps"
        kubernetes_validate.validate(document, version, strict=True)


@every
def test_a_replica_runs_with_no_rights_it_does_not_need(render, values):
    spec = pod(render(values))
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@every
def test_what_is_mounted_is_there_and_what_is_selected_is_labelled(render, values):
    documents = render(values)
    spec, labels = pod(documents), deployment(documents)["template"]["metadata"]["labels"]
    mounted = [mount["name"] for mount in spec["containers"][0]["volumeMounts"]]
    assert sorted(mounted) == sorted(volume["name"] for volume in spec["volumes"])
    selectors = [deployment(documents)["selector"]["matchLabels"]]
    for (kind, _), document in documents.items():
        if kind == "Service":
            selectors.append(document["spec"]["selector"])
        if kind == "PodDisruptionBudget":
            selectors.append(document["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        assert selector.items() <= labels.items()


@every
def test_the_hub_takes_the_settings_that_it_is_given(render, values, tmp_path):
    documents = render(values)
    given = {
        name: each.get("value", "secret")
        for name, each in environment(documents).items()
        # The file is elsewhere here.
        if name != "TIDINGS_CONFIG"
    }
    file = tmp_path / "server.toml"
    file.write_text(documents["ConfigMap", "live-tidings"]["data"]["server.toml"])
    checked = subprocess.run(
        [HUB, "check-config", "--config", file], env={**os.environ, **given}, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("grace", [45 - 6, 1])
def test_a_grace_period_in_which_the_streams_do_not_end_is_refused(refused, grace):
    assert "terminationGracePeriodSeconds is" in refused(terminationGracePeriodSeconds=grace)
    assert "has to be at least 95" in refused(drain={"windowSeconds": 30, "delaySeconds": 0}, terminationGracePeriodSeconds=94)


def test_a_grace_period_in_which_they_just_do_is_taken(render):
    drained = among(LEAST, drain={"windowSeconds": 30, "delaySeconds": 0}, terminationGracePeriodSeconds=95)
    spec = pod(render(drained))
    assert spec["terminationGracePeriodSeconds"] == 95
    assert environment(render(drained))["TIDINGS_LIMITS__DRAIN_WINDOW"]["value"] == "30s"


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"nats": {"url": []}}, "nats.url"),
        ({"nats": {"url": ["http://a:4222"]}}, "nats.url"),
        ({"nats": {"url": ["nats://me:secret@a:4222"]}}, "nats.url"),
        ({"nats": {"copies": 2}}, "nats.copies"),
        ({"nats": {"durability": "always"}}, "nats.durability"),
        ({"nats": {"hub": "a.b"}}, "nats.hub"),
        ({"nats": {"login": {"user": "me"}}}, "go together"),
        ({"nats": {"login": {"token": {"secret": "a"}, "nkey": {"secret": "b"}}}}, "in more than one way"),
        ({"replicas": 0}, "replicas"),
        ({"replica": 3}, "replica"),
        ({"ingress": {"path": "/"}}, "path"),
        ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "less than"),
    ],
)
def test_values_that_can_not_work_are_refused_and_named(refused, wrong, said):
    assert said in refused(**wrong)


def test_clients_are_sent_where_it_is_ready_and_a_replica_is_restarted_only_when_it_is_not_well(render):
    container = pod(render(LEAST))["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["startupProbe"]["httpGet"]["path"] == "/health"


def test_a_rollout_takes_no_replica_away_before_the_next_is_ready(render):
    assert deployment(render(LEAST))["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_other_settings_are_other_replicas(render):
    def stamp(values):
        return deployment(render(values))["template"]["metadata"]["annotations"]["checksum/config"]

    assert stamp(LEAST) != stamp(among(LEAST, config="# other\n"))


def test_secrets_stay_in_secrets(render):
    variables = environment(render(EVERYTHING))
    secret = {"secretKeyRef": {"name": "nats-login", "key": "password"}}
    assert variables["TIDINGS_BROKER__NATS__PASSWORD"] == {
        "name": "TIDINGS_BROKER__NATS__PASSWORD",
        "valueFrom": secret,
    }
    assert not any(kind == "Secret" for kind, _ in render(EVERYTHING))


def test_sessions_that_poll_have_a_service_and_a_rule_of_their_own(render):
    documents = render(among(LEAST, ingress={"enabled": True}))
    own = documents["Ingress", "live-tidings"]
    sessions = documents["Ingress", "live-tidings-sessions"]
    sticky = "nginx.ingress.kubernetes.io/upstream-hash-by"
    assert sticky not in own["metadata"]["annotations"] and sticky in sessions["metadata"]["annotations"]
    # ingress-nginx keeps one way of choosing for each Service.
    backend = sessions["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"]
    assert ("Service", backend) in documents and backend != "live-tidings"
    for ingress in own, sessions:
        assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
        paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        assert "/" not in paths and "/metrics" not in paths


def test_replicas_by_connections_are_not_also_counted_by_hand(render):
    documents = render(EVERYTHING)
    assert "replicas" not in deployment(documents)
    metric = documents["HorizontalPodAutoscaler", "live-tidings"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert f"`{metric}`" in (ROOT / "docs/metrics.md").read_text()


def test_the_versions_are_those_of_the_hub():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "Cargo.toml").read_text()
