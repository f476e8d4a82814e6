"""What docs/ says of deploying: links lead somewhere, and settings and commands are such that the hub takes them."""

import os
import re
import subprocess

import pytest

from conftest import ROOT

PAGES = ["docs/scale.md", "docs/operate.md", "docs/migrate/replicas.md"]
HUB = ROOT / "target/debug/tidings"


def anchors(text):
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_whatever_is_said_to_be_in_deploy_is_there():
    for page in [*PAGES, "README.md", "docs/start.md", "CHANGELOG.md"]:
        for path in re.findall(r"\bdeploy/[\w./-]*\w", (ROOT / page).read_text()):
            assert (ROOT / path).exists() or path == "deploy/secrets", f"{page}: {path}"


def test_the_hub_takes_the_settings_that_are_shown(tmp_path):
    blocks = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/scale.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        file = tmp_path / "server.toml"
        file.write_text(block)
        given = {**os.environ, "TIDINGS_BROKER__NATS__PASSWORD": "a password"}
        checked = subprocess.run([HUB, "check-config", "--config", file], env=given, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_a_connection_takes_is_what_was_measured():
    """Of what the arithmetic rests on, the figures that a new measurement moves."""
    scale, measured = ((ROOT / page).read_text() for page in ["docs/scale.md", "bench/README.md"])
    idle = re.search(r"bytes per idle connection at 15,000 \| ≤ 512 \| (\d+) ", measured)[1]
    assert f"× ({idle} B + 4.8 KB)" in scale
    # CPU-s per 10⁶ deliveries are µs for each.
    cpu = re.findall(r"CPU-s per 10⁶ deliveries, [15],000 subscribers at 50k/s \| ≤ 1.15 × floor \| (\d\.\d)", measured)
    assert f"{cpu[0]} to {cpu[1]} µs" in scale and f"*D* × {cpu[1]} µs" in scale
    opened = re.search(r"CPU µs to open a stream \| ≤ 40 \| (\d+) ", measured)[1]
    assert f"its connections × {opened} µs" in scale
