"""deploy/cluster and deploy/secrets: valid on the clusters of today, and in agreement
with bodywork.yaml, the image and the service."""

import subprocess
from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions, major_minor
from sklearn.dummy import DummyRegressor

from deploy.image import DOCKERFILE, ingredients
from deploy.kubernetes_api import path_of
from deploy.releases.bodywork import ENDING_SECONDS
from deploy.releases.lease import WAIT_SECONDS
from deploy.releases.weekly_run import DEPLOYMENT_SECONDS
from pipeline import aws
from pipeline.connections.graceful_shutdown import (
    MAX_ACCEPTING_SECONDS,
    MAX_ANSWERING_SECONDS,
)
from pipeline.connections.request_limits import KEEP_ALIVE_SECONDS
from pipeline.serve_model import create_app
from tests.deploy.test_bodywork_yaml import CONFIGURATION, ROOT, STAGES
from tests.stages.services import DATASET, ENDPOINT

pytestmark = pytest.mark.once

CLUSTER = ROOT / "deploy" / "cluster"
SECRETS = ROOT / "deploy" / "secrets"
OLDEST = "1.32.0"
VERSIONS = [
    version
    for version in all_versions()
    if list(map(int, version.split("."))) >= list(map(int, OLDEST.split(".")))
]
IN_EACH_VERSION = pytest.mark.parametrize(
    "version",
    [pytest.param(version, marks=pytest.mark.thorough) for version in VERSIONS[:-1]]
    + VERSIONS[-1:],
)
NAMESPACE = CONFIGURATION["pipeline"]["name"]
BODYWORK_NAMESPACE = "bodywork-deployment-jobs"


def load(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


KUSTOMIZATION = load(CLUSTER / "kustomization.yaml")[0]
MANIFESTS = [
    manifest for name in KUSTOMIZATION["resources"] for manifest in load(CLUSTER / name)
]
[PATCH] = load(CLUSTER / "serve_model_patch.yaml")
[SCHEDULE] = load(CLUSTER / "schedule.yaml")


def only(kind: str, name: str = "") -> dict[str, Any]:
    [found] = [
        each
        for each in MANIFESTS
        if each["kind"] == kind and name in ("", each["metadata"]["name"])
    ]
    return found


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in MANIFESTS if each["kind"] == kind]


def patched_deployment() -> dict[str, Any]:
    """The patch, with what a Deployment must have and Bodywork gives it."""
    deployment = deepcopy(PATCH)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"].pop("$patch") == "replace"
    labels = {"stage": "serve-model"}
    deployment["spec"]["selector"] = {"matchLabels": labels}
    deployment["spec"]["template"]["metadata"] = {"labels": labels}
    return deployment


def pod_specs() -> Iterator[dict[str, Any]]:
    yield SCHEDULE["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    yield PATCH["spec"]["template"]["spec"]


def test_the_versions_are_those_that_are_offered() -> None:
    assert OLDEST in VERSIONS
    assert VERSIONS[-1] == kubernetes_validate.latest_version()


@IN_EACH_VERSION
def test_each_manifest_is_valid(version: str) -> None:
    for manifest in [*MANIFESTS, SCHEDULE, patched_deployment()]:
        used = kubernetes_validate.validate(manifest, version, strict=True)
        assert used == major_minor(version)


def test_all_files_are_applied_but_those_of_a_release() -> None:
    """The resources are all that the kustomization has, so these tests see it whole."""
    assert set(KUSTOMIZATION) == {"apiVersion", "kind", "resources"}
    files = {path.name for path in CLUSTER.iterdir()}
    assert files == {
        *KUSTOMIZATION["resources"],
        "kustomization.yaml",
        "schedule.yaml",
        "serve_model_patch.yaml",
    }


def test_everything_is_where_bodywork_looks() -> None:
    names = {each["metadata"]["name"] for each in of_kind("Namespace")}
    assert names == {NAMESPACE, BODYWORK_NAMESPACE}
    for manifest in MANIFESTS:
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] in names
    # Found, it is left as it is, without the role that reads secrets.
    accounts = {path_of(each) for each in of_kind("ServiceAccount")}
    assert f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/bodywork-stage" in accounts


def test_the_weekly_run_follows_the_delivery_and_is_kept_a_week() -> None:
    spec = SCHEDULE["spec"]
    minute, hour, *days = spec["schedule"].split()
    assert (int(hour), int(minute)) == (23, 45)
    assert days == ["*", "*", "5"]
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["ttlSecondsAfterFinished"] >= 7 * 24 * 3600
    stages = [STAGES[name]["batch"] for name in ("train_model", "report_failure")]
    longest = sum(stage["max_completion_time_seconds"] for stage in stages)
    assert DEPLOYMENT_SECONDS > 3 * longest + WAIT_SECONDS
    weekend = timedelta(days=2, hours=6, minutes=15).total_seconds()
    assert job["activeDeadlineSeconds"] > weekend + DEPLOYMENT_SECONDS


def test_a_drained_weekly_run_is_no_failure_whatever_its_exit_code() -> None:
    """The first rule that matches counts."""
    job = SCHEDULE["spec"]["jobTemplate"]["spec"]
    ignored, failed = job["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore"
    [condition] = ignored["onPodConditions"]
    assert condition == {"type": "DisruptionTarget", "status": "True"}
    assert failed["onExitCodes"]["values"] == [1, 2]
    pods = job["template"]["spec"]
    assert pods["terminationGracePeriodSeconds"] > ENDING_SECONDS


def test_the_weekly_run_is_one_of_the_files_of_the_image() -> None:
    spec = SCHEDULE["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    python, option, module, *names = container["command"]
    assert (python, option) == ("/opt/bodywork/bin/python", "-m")
    copied = f"{module.replace('.', '/')}.py"
    assert copied in ingredients((ROOT / DOCKERFILE).read_text())
    assert container["workingDir"] == "/opt/bodywork"
    metadata = SCHEDULE["metadata"]
    assert names == [metadata["namespace"], metadata["name"]]
    # A release alone says what is deployed, and in what image.
    assert not {"args", "image"} & set(container)


def test_the_weekly_run_knows_its_job_and_has_secrets_that_are_made() -> None:
    spec = SCHEDULE["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    [job] = container["env"]
    label = "metadata.labels['batch.kubernetes.io/job-name']"
    assert (job["name"], job["valueFrom"]["fieldRef"]["fieldPath"]) == (
        "JOB_NAME",
        label,
    )
    [kustomization] = load(SECRETS / "kustomization.yaml")
    made = {each["name"] for each in kustomization["secretGenerator"]}
    secrets = {each["secretRef"]["name"] for each in container["envFrom"]}
    assert len(secrets) == 2 and secrets <= made


def test_the_lease_is_that_of_the_weekly_run() -> None:
    lease = only("Lease")
    assert lease["metadata"] == SCHEDULE["metadata"]
    # Applied again, it must not take the lease from who holds it.
    assert "spec" not in lease


def test_who_deploys_may_do_so_in_two_namespaces_and_no_more() -> None:
    assert not of_kind("ClusterRole") and not of_kind("ClusterRoleBinding")
    account = SCHEDULE["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "serviceAccountName"
    ]
    allowed: dict[str, set[str]] = {"ServiceAccount": set(), "Group": set()}
    roles = {path_of(role): role["rules"] for role in of_kind("Role")}
    for binding in of_kind("RoleBinding"):
        namespace, name = binding["metadata"]["namespace"], binding["roleRef"]["name"]
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/{name}"
        for subject in binding["subjects"]:
            if subject["kind"] == "ServiceAccount":
                assert subject["name"] == account
                assert subject["namespace"] == BODYWORK_NAMESPACE
            for rule in roles[path]:
                allowed[subject["kind"]] |= {
                    f"{verb} {resource} in {namespace}"
                    for verb in rule["verbs"]
                    for resource in rule["resources"]
                }
    writing = {"update cronjobs", "create cronjobs", "list jobs"}
    assert allowed["Group"] - allowed["ServiceAccount"] == {
        f"{each} in {BODYWORK_NAMESPACE}" for each in writing
    }
    assert allowed["ServiceAccount"] <= allowed["Group"]
    for right in ("get secrets", "delete namespaces", "*"):
        assert right not in str(allowed)
    assert f"update secrets in {BODYWORK_NAMESPACE}" not in allowed["Group"]
    port = STAGES["serve_model"]["service"]["port"]
    rules = [rule for rules in roles.values() for rule in rules]
    [proxy] = [rule for rule in rules if "services/proxy" in rule["resources"]]
    assert proxy["resourceNames"] == [f"{PATCH['metadata']['name']}:{port}"]


def test_pods_run_as_the_user_of_the_image() -> None:
    recipe = (ROOT / DOCKERFILE).read_text()
    for spec in pod_specs():
        user = spec["securityContext"]["runAsUser"]
        assert f"\nUSER {user}:{user}\n" in recipe
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_no_stage_requests_more_than_its_limit() -> None:
    [limit] = only("LimitRange")["spec"]["limits"]
    assert limit["default"] == {"cpu": "1", "memory": "1536Mi"}
    for stage in STAGES.values():
        assert stage["cpu_request"] <= 1
        assert stage["memory_request_mb"] * 10**6 < 1536 * 2**20


def test_the_patch_and_the_service_agree() -> None:
    spec = PATCH["spec"]["template"]["spec"]
    [container] = spec["containers"]
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    shutdown = int(seconds) + MAX_ACCEPTING_SECONDS + MAX_ANSWERING_SECONDS
    assert spec["terminationGracePeriodSeconds"] > shutdown
    annotations = only("Ingress")["metadata"]["annotations"]
    deregistration = annotations["alb.ingress.kubernetes.io/target-group-attributes"]
    assert int(deregistration.rpartition("=")[2]) < int(seconds)
    idle = annotations["alb.ingress.kubernetes.io/load-balancer-attributes"]
    assert idle == "idle_timeout.timeout_seconds=60"
    assert KEEP_ALIVE_SECONDS > int(idle.rpartition("=")[2])


def test_every_selector_finds_the_pods_of_the_service() -> None:
    """Bodywork labels them with the stage's name, and names the Service so."""
    name = "serve_model".replace("_", "-")
    assert PATCH["metadata"]["name"] == name
    labels = {"matchLabels": {"stage": name}}
    assert only("PodDisruptionBudget")["spec"]["selector"] == labels
    assert only("NetworkPolicy", name)["spec"]["podSelector"] == labels
    for spread in PATCH["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"] == labels
    port = STAGES["serve_model"]["service"]["port"]
    [rule] = only("Ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["backend"] == {"service": {"name": name, "port": {"number": port}}}
    [ingress] = only("NetworkPolicy", name)["spec"]["ingress"]
    assert ingress == {"ports": [{"port": port, "protocol": "TCP"}]}


@pytest.mark.process
def test_the_paths_that_are_asked_for_exist() -> None:
    curves = {"SKU001": {"orders_placed": [0.0], "hours": [1.0]}}
    model = aws.Model("any", DummyRegressor(), DATASET, {"curves": curves})
    paths = create_app(model).openapi()["paths"]
    [path] = only("Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert ENDPOINT in paths and ENDPOINT.startswith(path["path"])
    annotations = only("Ingress")["metadata"]["annotations"]
    assert annotations["alb.ingress.kubernetes.io/healthcheck-path"] in paths


@pytest.mark.process
def test_each_secret_of_bodywork_yaml_is_made_from_a_file_that_git_ignores() -> None:
    [kustomization] = load(SECRETS / "kustomization.yaml")
    group = CONFIGURATION["pipeline"]["secrets_group"]
    assert kustomization["namespace"] == "bodywork-deployment-jobs"
    assert kustomization["generatorOptions"] == {
        "disableNameSuffixHash": True,
        "labels": {"group": group},
    }
    made = {each["name"]: each["envs"] for each in kustomization["secretGenerator"]}
    secrets = {name for stage in STAGES.values() for name in stage["secrets"].values()}
    assert made == {f"{group}-{name}": [f"{name}.env"] for name in secrets}
    for [name] in made.values():
        subprocess.run(
            ["git", "check-ignore", "--quiet", SECRETS / name], cwd=ROOT, check=True
        )
