"""A pod that does not come to be is explained, and not waited for in vain.

The statuses are those of a real cluster; it itself is a double that has but one pod.
"""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.e2e.pods import wait_for_job, wait_until_ready
from deploy.kubernetes_api import Cluster, waiting

pytestmark = pytest.mark.once

PODS = "/api/v1/namespaces/n/pods"
PULL = "Back-off pulling image"
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."
NO_NETWORK = "failed to setup network for sandbox: no networks found in /etc/cni/net.d"


class ClusterWithOnePod(Cluster):
    def __init__(self, **status: Any) -> None:
        metadata = {"name": "p", "namespace": "n", "creationTimestamp": "0"}
        self.pod = {"metadata": metadata, "status": status}
        self.events: list[Any] = []

    def get(self, path: str, **query: str) -> Any:
        if path.endswith("/events"):
            return {"items": self.events}
        if path.endswith("/jobs/j"):
            return {"metadata": {"name": "j", "namespace": "n"}, "status": {}}
        return {"items": [self.pod]} if path == PODS else self.pod

    def request(self, *_: object, **query: object) -> bytes:
        return f"log of {query['container']}".encode()

    def now(self) -> datetime:
        return datetime(2021, 7, 3, 12, tzinfo=UTC)


def container(**state: Any) -> dict[str, Any]:
    return {"name": "c", "image": "account/image:tag", "state": state}


def unschedulable(since: str) -> dict[str, Any]:
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": NO_ROOM,
        "lastTransitionTime": since,
    }


@pytest.mark.parametrize(
    "status, sentence",
    [
        (
            {
                "containerStatuses": [
                    container(waiting={"reason": "ImagePullBackOff", "message": PULL})
                ]
            },
            f"^Pod p has no image: {PULL}; push account/image:tag to Docker Hub",
        ),
        (
            {"conditions": [unschedulable("2021-07-03T11:58:00Z")]},
            f"^No node takes pod p: {NO_ROOM}$",
        ),
    ],
)
def test_what_will_not_change_is_not_waited_for(
    status: dict[str, Any], sentence: str
) -> None:
    cluster = ClusterWithOnePod(phase="Pending", **status)
    with pytest.raises(RuntimeError, match=sentence):
        wait_until_ready(cluster, f"{PODS}/p", seconds=600)
    with pytest.raises(RuntimeError, match=sentence):
        wait_for_job(cluster, "/jobs/j", seconds=600, watched=PODS)


def test_a_pod_that_has_ended_is_not_waited_for() -> None:
    ended = container(terminated={"reason": "Error", "exitCode": 128})
    cluster = ClusterWithOnePod(phase="Failed", containerStatuses=[ended])
    with pytest.raises(RuntimeError) as error:
        wait_until_ready(cluster, f"{PODS}/p", seconds=600)
    said = str(error.value)
    assert "p is Failed; c terminated: reason Error, exitCode 128.\n" in said
    assert said.endswith("--- p, c:\nlog of c")


def test_what_is_waited_for_in_vain_is_explained_by_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    just_now = [unschedulable("2021-07-03T11:59:58Z")]
    cluster = ClusterWithOnePod(phase="Pending", conditions=just_now)
    cluster.events = [{"message": "older"}, {"message": NO_NETWORK}]
    sentence = re.escape(f"p is Pending; {NO_ROOM}; {NO_NETWORK}.")
    with pytest.raises(RuntimeError, match=sentence):
        wait_until_ready(cluster, f"{PODS}/p", seconds=0)
    with pytest.raises(RuntimeError, match=sentence):
        wait_for_job(cluster, "/jobs/j", seconds=0, watched=PODS)
