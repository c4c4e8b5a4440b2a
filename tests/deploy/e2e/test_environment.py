"""What a run makes on the cluster is valid, is its own, and is removed again.

The cluster is a double that only keeps what is made: make e2e itself needs a real one.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from deploy.e2e.controller import start_release, start_weekly_run
from deploy.e2e.environment import BODYWORK_NAMESPACE, Environment
from deploy.e2e.manifests import NAME, containers
from deploy.e2e.releases import FIRST, REPOSITORY, make_releases
from deploy.kubernetes_api import Cluster, path_of, waiting
from deploy.releases import Release, Schedule
from tests.deploy.test_cluster import VERSIONS

pytestmark = [pytest.mark.once, pytest.mark.process]

RUN, IMAGE = "time-to-dispatch-e2e-abc123", "account/image:tag"
RUNNING = {
    "phase": "Running",
    "podIP": "10.0.0.7",
    "conditions": [{"type": "Ready", "status": "True"}],
}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


class RecordedCluster(Cluster):
    """Keeps what is made. Each pod is ready and each Job complete at once.

    Attributes:
        objects: The object at each path.
        stuck: The paths of objects that cannot be deleted.
        outages: How many more requests to delete are not answered.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.stuck: set[str] = set()
        self.outages = 0

    def create(self, manifest: Any) -> Any:
        status = {"Pod": RUNNING, "Job": COMPLETE}.get(manifest["kind"], {})
        metadata = {**manifest["metadata"], "uid": "made"}
        made = {**manifest, "metadata": metadata, "status": status}
        self.objects[path_of(manifest)] = made

    def get(self, path: str, **query: str) -> Any:
        if path.endswith("/pods"):
            metadata = {"name": "delivery", "namespace": RUN}
            names = [{"name": "delivery", "state": {}}]
            status = {"containerStatuses": names}
            return {"items": [{"metadata": metadata, "status": status}]}
        return self.objects[path]

    def find(self, path: str) -> Any:
        return self.objects.get(path)

    def request(self, *_: object, **query: object) -> bytes:
        return b"Delivered\n"

    def delete(self, path: str, propagation_policy: str = "Background") -> None:
        if self.outages:
            self.outages -= 1
            raise RuntimeError("The API server does not answer.")
        if path in self.objects and path not in self.stuck:
            del self.objects[path]
            for each in list(self.objects):
                if each.startswith(f"{path}/") or f"{path[7:]}/" in each:
                    del self.objects[each]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("releases")


@pytest.fixture(scope="module")
def release(directory: Path) -> Release:
    return make_releases(directory, RUN, IMAGE)[FIRST]


@pytest.fixture
def cluster() -> RecordedCluster:
    return RecordedCluster()


@pytest.fixture
def made(cluster: RecordedCluster, directory: Path, release: Release) -> Environment:
    """Everything that a run makes."""
    made = Environment(cluster, RUN, IMAGE)
    assert made.make_namespace() == BODYWORK_NAMESPACE
    made.start_sandbox(directory / "repository.bundle")
    made.make_secrets(release.configuration)
    Schedule(cluster, release.schedule).write(release, None)
    made.made.append(path_of(release.schedule))
    assert made.deliver(release) == "Delivered"
    made.open_node_port("http://node:30080")
    start_release(made, release)
    start_weekly_run(made, cluster.objects[path_of(release.schedule)])
    return made


def of_kind(cluster: RecordedCluster, *kinds: str) -> list[Any]:
    return [each for each in cluster.objects.values() if each["kind"] in kinds]


def test_all_of_it_is_valid(cluster: RecordedCluster, made: Environment) -> None:
    for manifest in cluster.objects.values():
        without = {key: value for key, value in manifest.items() if key != "status"}
        for version in (VERSIONS[0], VERSIONS[-1]):
            kubernetes_validate.validate(without, version, strict=True)


def test_all_of_it_has_the_name_of_the_run(
    cluster: RecordedCluster, made: Environment
) -> None:
    """Nothing of the pipeline that may be on the cluster already is touched."""
    for path, manifest in cluster.objects.items():
        namespace = manifest["metadata"].get("namespace")
        if namespace == BODYWORK_NAMESPACE and manifest["kind"] != "ServiceAccount":
            assert manifest["metadata"]["name"].startswith(RUN)
        elif namespace is not None and manifest["kind"] != "ServiceAccount":
            assert namespace == RUN
        assert f"/{NAME}/" not in f"{path}/"
    assert not of_kind(cluster, "Ingress")


def test_every_container_has_the_image_and_finds_the_sandbox(
    cluster: RecordedCluster, made: Environment
) -> None:
    jobs = of_kind(cluster, "Job", "CronJob")
    for manifest in [*jobs, *of_kind(cluster, "Pod")]:
        for container in containers(manifest):
            assert container["image"] == IMAGE
    for manifest in jobs:
        for container in containers(manifest):
            env = {each["name"]: each.get("value") for each in container.get("env", [])}
            namespace = manifest["metadata"]["namespace"]
            for source in container.get("envFrom", []):
                secret = f"namespaces/{namespace}/secrets/{source['secretRef']['name']}"
                env |= cluster.objects[f"/api/v1/{secret}"]["stringData"]
            assert env["GIT_CONFIG_KEY_0"] == "url.http://10.0.0.7:8080/.insteadOf"
            assert REPOSITORY.startswith(env["GIT_CONFIG_VALUE_0"])
            assert env["AWS_ENDPOINT_URL"] == "http://10.0.0.7:8080"


def test_the_weekly_run_does_not_fire_by_itself(
    cluster: RecordedCluster, made: Environment
) -> None:
    [schedule] = of_kind(cluster, "CronJob")
    assert schedule["spec"]["suspend"] is True


def test_pods_of_every_stage_reach_the_sandbox(
    cluster: RecordedCluster, made: Environment
) -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in of_kind(cluster, "NetworkPolicy")
    }
    [pod] = of_kind(cluster, "Pod")
    [egress], [ingress] = (
        policies["to-sandbox"]["egress"],
        policies["sandbox"]["ingress"],
    )
    assert policies["to-sandbox"]["podSelector"] == {}
    assert egress["to"] == [{"podSelector": policies["sandbox"]["podSelector"]}]
    labels = policies["sandbox"]["podSelector"]["matchLabels"]
    assert labels == pod["metadata"]["labels"]
    port = int(pod["spec"]["containers"][0]["args"][-1])
    assert [egress["ports"][0]["port"], ingress["ports"][0]["port"]] == [port, port]


def test_all_of_it_is_removed(cluster: RecordedCluster, made: Environment) -> None:
    assert made.remove() == []
    assert cluster.objects == {}


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(
    cluster: RecordedCluster, made: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    cluster.outages = 3
    assert made.remove() == []
    assert cluster.objects == {}


def test_what_was_there_before_stays(cluster: RecordedCluster) -> None:
    namespace = f"/api/v1/namespaces/{BODYWORK_NAMESPACE}"
    cluster.objects[namespace] = {"kind": "Namespace"}
    run = Environment(cluster, RUN, IMAGE)
    assert run.make_namespace() == "nothing"
    assert run.remove() == []
    assert list(cluster.objects) == [namespace]


def test_what_cannot_be_removed_is_named_and_keeps_nothing_else(
    cluster: RecordedCluster,
    made: Environment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("deploy.e2e.environment.REMOVAL_TIMEOUT_SECONDS", 0)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    path = f"/api/v1/namespaces/{RUN}"
    cluster.stuck.add(path)
    assert made.remove() == [path]
    assert all(each.startswith(path) or f"/{RUN}/" in each for each in cluster.objects)
    assert f"NOT removed {path}: it is still there" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["http://node", "https://node:443/path"])
def test_an_address_that_is_no_nodes_leads_there_by_itself(
    cluster: RecordedCluster, address: str
) -> None:
    Environment(cluster, RUN, IMAGE).open_node_port(address)
    assert cluster.objects == {}
