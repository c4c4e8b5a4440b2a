"""What an end-to-end run makes on the cluster, and removes again."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from deploy.e2e.manifests import CLUSTER, HERE, containers, load
from deploy.e2e.pods import read_logs, wait_for_job, wait_until_ready
from deploy.e2e.releases import BUNDLE, HOST, REPOSITORY, secrets
from deploy.e2e.report import say
from deploy.e2e.sandbox_server import ALERT
from deploy.kubernetes_api import Cluster, NotYetError, path_of, wait_for
from deploy.releases import Release

BODYWORK_NAMESPACE = "bodywork-deployment-jobs"
# Of pods that come to be in the meantime, an image is pulled for the first of them.
READY_TIMEOUT_SECONDS = 600
DELIVERY_TIMEOUT_SECONDS = 300
REMOVAL_TIMEOUT_SECONDS = 180

ORDERS_PER_WEEK = 1000
# What Kubernetes opens on its nodes, unless it is told otherwise.
NODE_PORTS = range(30000, 32768)
SERVER = "sandbox_server.py"


class Environment:
    """A namespace with a sandbox in it, and what Bodywork needs beside it.

    Attributes:
        name: Of the namespace, the pipeline, the secrets group and the bucket.
        made: The paths of what was made outside of the namespace, and of itself.
        variables: What leads a pod to the sandbox, once it is there.
        deliveries: How many were made.
        jobs: How many releases and weekly runs were started.
    """

    def __init__(self, cluster: Cluster, name: str, image: str) -> None:
        self.cluster = cluster
        self.name = name
        self.image = image
        self.namespace = f"/api/v1/namespaces/{name}"
        self.made: list[str] = []
        self.variables: dict[str, str] = {}
        self.deliveries = 0
        self.jobs = 0

    def make_namespace(self) -> str:
        """Make what deploy/cluster has, but for the load balancer.

        Returns:
            What it made for all pipelines: Bodywork's namespace, or nothing.
        """
        missing = []
        for file in ("namespaces.yaml", "access.yaml", "stages.yaml", "network.yaml"):
            for manifest in load(CLUSTER / file, self.name):
                # Other pipelines may be there.
                is_shared = manifest["metadata"]["name"] == BODYWORK_NAMESPACE
                if is_shared and self.cluster.find(path_of(manifest)) is not None:
                    continue
                if is_shared:
                    missing.append(BODYWORK_NAMESPACE)
                if manifest["kind"] != "Ingress":
                    self.make(manifest)
        for manifest in load(HERE / "releases.yaml", self.name):
            self.make(manifest)
        return ", ".join(missing) or "nothing"

    def start_sandbox(self, bundle: Path) -> str:
        """Run the sandbox, and wait until it is ready; returns its address.

        Raises:
            RuntimeError: It does not become ready.
        """
        for manifest in [
            make_configuration(self.name, bundle),
            *load(HERE / "sandbox.yaml", self.name, self.image),
        ]:
            self.make(manifest)
        path = f"{self.namespace}/pods/sandbox"
        pod = wait_until_ready(self.cluster, path, READY_TIMEOUT_SECONDS)
        [container] = pod["spec"]["containers"]
        address = f"http://{pod['status']['podIP']}:{container['args'][-1]}"
        self.variables = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{address}/.insteadOf",
            "GIT_CONFIG_VALUE_0": HOST,
        }
        return address

    def make_secrets(self, configuration: dict[str, Any]) -> None:
        """Make the secrets that a bodywork.yaml names, where Bodywork copies them."""
        address = self.variables["AWS_ENDPOINT_URL"]
        values = {
            **self.variables,
            "MODEL_SIGNING_KEY": token_hex(32),
            "ALERT_URLS": f"{address.replace('http', 'json', 1)}/alerts",
            "REPORT_URLS": "",
            "REPORTS_ADDRESS": "",
        }
        for secret, data in secrets(configuration, values).items():
            metadata = {
                "name": f"{self.name}-{secret}",
                "namespace": BODYWORK_NAMESPACE,
                "labels": {"group": self.name},
            }
            self.make(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": metadata,
                    "stringData": data,
                }
            )

    def open_node_port(self, address: str) -> None:
        """Lead an address to the service, if its port is a node's."""
        port = urlsplit(address).port
        if port not in NODE_PORTS:
            return
        self.make(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "node-port", "namespace": self.name},
                "spec": {
                    "type": "NodePort",
                    "selector": {"stage": "serve-model"},
                    "ports": [{"port": 8000, "nodePort": port}],
                },
            }
        )

    def deliver(self, release: Release) -> str:
        """Deliver a week of orders to the sandbox; returns what the delivery said.

        Args:
            release: Whose code delivers.

        Raises:
            RuntimeError: It failed.
        """
        self.deliveries += 1
        [job] = load(HERE / "delivery.yaml", self.name, self.image)
        job["metadata"]["name"] += f"-{self.deliveries}"
        [container] = containers(job)
        container["args"] = [
            f"--rows={ORDERS_PER_WEEK}",
            f"--seed={self.deliveries}",
            f"--to=s3://{self.name}/datasets/",
        ]
        container["env"] = to_env(
            {**self.variables, "RELEASE": release.tag, "REPOSITORY": REPOSITORY}
        )
        self.make(job)
        path = path_of(job)
        pods = f"{self.namespace}/pods"
        ended = wait_for_job(self.cluster, path, DELIVERY_TIMEOUT_SECONDS, pods)
        query = {"labelSelector": f"job-name={job['metadata']['name']}"}
        logs = [
            read_logs(self.cluster, pod)
            for pod in self.cluster.get(pods, **query)["items"]
        ]
        if ended["type"] == "Failed":
            raise RuntimeError("\n".join(["The delivery failed.", *logs]))
        return "\n".join(logs).splitlines()[-1]

    def alerts(self) -> list[str]:
        """What was posted to the webhook so far."""
        log = self.cluster.request("GET", f"{self.namespace}/pods/sandbox/log")
        # Git writes there as well.
        lines = log.decode().splitlines()
        return [line for line in lines if line.startswith(ALERT)]

    def make(self, manifest: Mapping[str, Any]) -> None:
        """Make an object, to be removed with all the others."""
        path = path_of(manifest)
        if manifest["metadata"].get("namespace") != self.name:
            self.made.append(path)
        self.cluster.create(manifest)

    def remove(self) -> list[str]:
        """Remove all that was made, the last first.

        Returns:
            What could not be removed, as paths.
        """
        left = []
        while self.made:
            path = self.made.pop()
            try:
                self.remove_one(path)
            except RuntimeError as error:
                left.append(path)
                say(f"NOT removed {path}: {error}")
            else:
                say(f"Removed {path}")
        return left

    def remove_one(self, path: str) -> None:
        """Remove an object, and wait until it is gone with all that it owns.

        Raises:
            RuntimeError: It is still there.
        """

        def remove() -> None:
            # A namespace refuses to be deleted again, and the API server may be away.
            try:
                self.cluster.delete(path, "Foreground")
                found = self.cluster.find(path)
            except RuntimeError as error:
                raise NotYetError(str(error)) from error
            if found is not None:
                conditions = found.get("status", {}).get("conditions", [])
                messages = [each.get("message", "") for each in conditions]
                raise NotYetError("; ".join(messages))

        try:
            wait_for(remove, REMOVAL_TIMEOUT_SECONDS)
        except NotYetError as error:
            raise RuntimeError(
                f"it is still there after {REMOVAL_TIMEOUT_SECONDS} s ({error})"
            ) from error


def make_configuration(namespace: str, bundle: Path) -> dict[str, Any]:
    """Make the ConfigMap with all that the sandbox is made of."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "sandbox", "namespace": namespace},
        "data": {SERVER: (HERE / SERVER).read_text()},
        "binaryData": {BUNDLE: b64encode(bundle.read_bytes()).decode()},
    }


def to_env(variables: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]
