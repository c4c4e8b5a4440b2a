"""deploy/dask: valid on the clusters of today, taken by Dask, and in agreement with
bodywork.yaml, the image and the stage that asks."""

import importlib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from dask.utils import parse_bytes
from kubernetes_validate.utils import major_minor

from deploy.image import DOCKERFILE, image_name, ingredients
from pipeline.train_model import CLUSTER_VARIABLE
from tests.deploy.test_bodywork_yaml import CONFIGURATION, ROOT
from tests.deploy.test_cluster import (
    BODYWORK_NAMESPACE,
    IN_EACH_VERSION,
    NAMESPACE,
    SCHEDULE,
    load,
)

pytestmark = pytest.mark.once

DASK = ROOT / "deploy" / "dask"
[KUSTOMIZATION] = load(DASK / "kustomization.yaml")
MANIFESTS = {
    (each["kind"], each["metadata"]["name"]): each
    for name in KUSTOMIZATION["resources"]
    for each in load(DASK / name)
}
DEPLOYMENTS = [MANIFESTS["Deployment", f"dask-{x}"] for x in ("scheduler", "worker")]
TRAINING = {"batch.kubernetes.io/job-name": "train-model"}


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    [container] = pod_of(deployment)["containers"]
    assert isinstance(container, dict)
    return container


@IN_EACH_VERSION
def test_each_manifest_is_valid(version: str) -> None:
    for manifest in MANIFESTS.values():
        used = kubernetes_validate.validate(manifest, version, strict=True)
        assert used == major_minor(version)


def test_all_files_are_applied() -> None:
    assert set(KUSTOMIZATION) == {"apiVersion", "kind", "resources", "images"}
    files = {path.name for path in DASK.iterdir()}
    assert files == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


def test_they_run_the_image_of_the_stages_with_the_code_of_the_search() -> None:
    [image] = KUSTOMIZATION["images"]
    assert f"{image['newName']}:{image['newTag']}" == image_name(), (
        "The Dockerfile or what it copies has changed: "
        "run python -m deploy.image --write."
    )
    recipe = (ROOT / DOCKERFILE).read_text()
    assert "pipeline/search/cluster.py" in ingredients(recipe)
    for deployment in DEPLOYMENTS:
        container = container_of(deployment)
        assert container["image"] == image["name"]
        [path] = [x["value"] for x in container["env"] if x["name"] == "PYTHONPATH"]
        assert f" {path}/pipeline/search/\n" in recipe


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["scheduler", "worker"])
def test_dask_takes_the_command(deployment: dict[str, Any]) -> None:
    container = container_of(deployment)
    program, subcommand = container["command"]
    assert program == "dask"
    command = importlib.import_module(f"distributed.cli.dask_{subcommand}").main
    options = command.make_context(subcommand, [*container["args"]]).params
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert options["dashboard_address"] == f":{ports['http']}"
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    limit = parse_bytes(container["resources"]["limits"]["memory"] + "B")
    if subcommand == "worker":
        assert options["scheduler"] == f"tcp://dask-scheduler:{scheduler_port()}"
        assert parse_bytes(options["memory_limit"]) < limit - 150 * 2**20
        assert options["nanny"]
    else:
        assert int(options["port"]) == ports["tcp"] == scheduler_port()


def scheduler_port() -> int:
    [port] = MANIFESTS["Service", "dask-scheduler"]["spec"]["ports"]
    assert port["targetPort"] == port["name"]
    return int(port["port"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=["scheduler", "worker"])
def test_a_pod_may_do_as_little_as_others(deployment: dict[str, Any]) -> None:
    pod = pod_of(deployment)
    weekly = SCHEDULE["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"] == weekly["securityContext"]
    [other] = weekly["containers"]
    assert container_of(deployment)["securityContext"] == {
        **other["securityContext"],
        "readOnlyRootFilesystem": True,
    }
    # Nothing of the cluster is to be had from it, for anybody may run code there.
    assert pod["automountServiceAccountToken"] is False
    assert not {"serviceAccountName", "hostNetwork"} & set(pod)
    assert not {"envFrom"} & set(container_of(deployment))
    [volume] = pod["volumes"]
    assert set(volume) == {"name", "emptyDir"}
    # Or Dask would read what Kubernetes tells of its Services as settings.
    assert pod["enableServiceLinks"] is False
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels


def test_training_alone_reaches_the_scheduler_alone() -> None:
    [namespace] = {
        manifest["metadata"]["namespace"]
        for (kind, _), manifest in MANIFESTS.items()
        if kind in ("Deployment", "Service")
    }
    everything = MANIFESTS["NetworkPolicy", "dask"]
    assert everything["metadata"]["namespace"] == namespace
    assert everything["spec"]["podSelector"] == {}
    assert everything["spec"]["ingress"] == [{"from": [{"podSelector": {}}]}]

    scheduler = DEPLOYMENTS[0]["spec"]["selector"]
    ports = [{"port": scheduler_port(), "protocol": "TCP"}]
    lets_in = MANIFESTS["NetworkPolicy", "dask-scheduler"]
    assert lets_in["metadata"]["namespace"] == namespace
    assert lets_in["spec"]["podSelector"] == scheduler
    training = {"matchLabels": TRAINING}
    assert lets_in["spec"]["ingress"] == [
        {"from": [in_namespace(NAMESPACE, training)], "ports": ports}
    ]
    lets_out = MANIFESTS["NetworkPolicy", "train-model-dask"]
    assert lets_out["metadata"]["namespace"] == NAMESPACE
    assert lets_out["spec"]["podSelector"] == training
    assert lets_out["spec"]["egress"] == [
        {"to": [in_namespace(namespace, scheduler)], "ports": ports}
    ]


def in_namespace(name: str, pods: dict[str, Any]) -> dict[str, Any]:
    labels = {"kubernetes.io/metadata.name": name}
    return {"namespaceSelector": {"matchLabels": labels}, "podSelector": pods}


def test_the_stage_is_told_the_address_where_that_is_wanted() -> None:
    group = CONFIGURATION["pipeline"]["secrets_group"]
    secret = MANIFESTS["Secret", f"{group}-dask"]
    assert secret["metadata"]["namespace"] == BODYWORK_NAMESPACE
    assert secret["metadata"]["labels"] == {"group": group}
    service = MANIFESTS["Service", "dask-scheduler"]["metadata"]
    host = f"{service['name']}.{service['namespace']}"
    assert secret["stringData"] == {
        CLUSTER_VARIABLE: f"tcp://{host}:{scheduler_port()}"
    }
    # Without the manifests there is no such secret, and Bodywork would deploy nothing.
    assert CLUSTER_VARIABLE not in CONFIGURATION["stages"]["train_model"]["secrets"]
    page = Path(ROOT, "docs", "any-size.md").read_text()
    assert f"\n      {CLUSTER_VARIABLE}: dask\n" in page
