"""What the page tells operators to add is valid, and agrees with what is there."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests.deploy.test_bodywork_yaml import CONFIGURATION, KNOWN_KEYS
from tests.deploy.test_cluster import NAMESPACE, OLDEST, SECRETS, load, only

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "any-size.md").read_text()


def find_block(key: str) -> dict[str, Any]:
    """The one block of YAML that has a key at its top level."""
    blocks = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S))
    [found] = [block for block in blocks if key in block]
    return dict(found)


def test_the_stage_is_one_of_bodywork() -> None:
    added = find_block("stages")
    assert added["pipeline"].keys() <= KNOWN_KEYS["pipeline"]
    [(_, stage)] = added["stages"].items()
    assert stage.keys() <= KNOWN_KEYS["stage"]
    assert stage["batch"].keys() == KNOWN_KEYS["batch"]
    assert (ROOT / stage["executable_module_path"]).exists()
    assert stage["args"][0] == CONFIGURATION["stages"]["serve_model"]["args"][0]


def test_each_of_its_secrets_is_made_from_a_file_that_git_ignores() -> None:
    stage = find_block("stages")["stages"]["publish_estimates"]
    [kustomization] = load(SECRETS / "kustomization.yaml")
    generators = kustomization["secretGenerator"] + find_block("secretGenerator")[
        "secretGenerator"
    ]
    made = {each["name"]: each["envs"] for each in generators}
    group = CONFIGURATION["pipeline"]["secrets_group"]
    for secret in stage["secrets"].values():
        [name] = made[f"{group}-{secret}"]
        subprocess.run(
            ["git", "check-ignore", "--quiet", SECRETS / name], cwd=ROOT, check=True
        )


def test_the_network_policy_opens_the_port_of_redis_and_nothing_else() -> None:
    policy = find_block("kind")
    validate(policy, OLDEST, strict=True)
    closed = only("NetworkPolicy", "stages")
    assert policy["metadata"]["namespace"] == NAMESPACE
    assert policy["spec"]["podSelector"] == closed["spec"]["podSelector"]
    assert policy["spec"]["policyTypes"] == ["Egress"]
    [rule] = policy["spec"]["egress"]
    assert rule["ports"] == [{"port": 6379, "protocol": "TCP"}]
    # Without it, nobody would reach Redis.
    open_ports = [port for rule in closed["spec"]["egress"] for port in rule["ports"]]
    assert {port["port"] for port in open_ports} == {443, 53}
