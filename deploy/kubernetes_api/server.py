"""The Kubernetes API server, asked in its own JSON, which `kubectl -o json` shows."""

import json
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from kubernetes import client, config
from urllib3.exceptions import HTTPError
from urllib3.util import ssl_

# Each as (connecting, reading), in seconds. The service answers through the API server.
TIMEOUT = (10, 30)
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

API_PATHS = {"v1": "/api/v1"}
PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}


class Refusal(RuntimeError):
    """An answer of the API server that is no success.

    Attributes:
        status: The HTTP status code.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Cluster:
    """A cluster, by the current context of a kubeconfig."""

    def __init__(self) -> None:
        """Read the kubeconfig: KUBECONFIG, or ~/.kube/config.

        Raises:
            RuntimeError: There is none, or it cannot be used.
        """
        # The authorities of EKS lack a key identifier: kubernetes-client/python#2394.
        vars(ssl_)["VERIFY_X509_STRICT"] = ssl.VerifyFlags(0)
        configuration = client.Configuration()
        try:
            config.load_kube_config(client_configuration=configuration)
        except Exception as error:  # It parses what it finds, and guards little.
            cause = " ".join(str(error).split())
            raise RuntimeError(
                f"No cluster is configured ({cause}); set KUBECONFIG, or run "
                "aws eks update-kubeconfig --name CLUSTER."
            ) from error
        self.client = client.ApiClient(configuration)

    @property
    def address(self) -> str:
        return str(self.client.configuration.host)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        **query: str,
    ) -> bytes:
        """Make a request; returns the body of the answer.

        Raises:
            Refusal: The API server refused it.
            RuntimeError: It could not be reached.
        """
        answer, _ = self._send(method, path, body, content_type, query)
        return answer

    def get(self, path: str, **query: str) -> Any:
        """Read an object, or a list of them."""
        return json.loads(self.request("GET", path, **query))

    def find(self, path: str) -> Any:
        """Read an object; None if there is none."""
        try:
            return self.get(path)
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise

    def patch(self, path: str, body: object, content_type: str) -> Any:
        return json.loads(self.request("PATCH", path, body, content_type))

    def create(self, manifest: Mapping[str, Any]) -> Any:
        """Make an object, unless it is there already or has a field that is unknown."""
        folder = path_of(manifest).rpartition("/")[0]
        query = {"fieldValidation": "Strict"}
        return json.loads(self.request("POST", folder, manifest, **query))

    def delete(self, path: str, propagation_policy: str = "Background") -> None:
        """Delete an object, and what it owns; one that is gone is no failure."""
        try:
            self.request("DELETE", path, propagationPolicy=propagation_policy)
        except Refusal as refusal:
            if refusal.status != 404:
                raise

    def now(self) -> datetime:
        """The time by the clock of the API server."""
        _, headers = self._send("GET", "/version", None, "application/json", {})
        return parsedate_to_datetime(headers["Date"])

    def _send(
        self,
        method: str,
        path: str,
        body: object,
        content_type: str,
        query: Mapping[str, str],
    ) -> tuple[bytes, Mapping[str, str]]:
        headers = {"Accept": "*/*", "Content-Type": content_type}
        # On a connection of its own, each request meets the service as a new client.
        headers["Connection"] = "close"
        request = self.client.param_serialize(
            method,
            path + (f"?{urlencode(query)}" if query else ""),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self.client.call_api(*request, _request_timeout=TIMEOUT)
            content = response.read() or b""
        except (client.ApiException, HTTPError, OSError) as error:
            raise RuntimeError(
                f"The API server {self.address} does not answer ({error}); check the "
                "kubeconfig and the network."
            ) from error
        if not 200 <= response.status < 300:
            raise Refusal(
                f"The cluster refused {method} {path}: {response.status} "
                f"{explain(content)}",
                response.status,
            )
        return content, response.headers


def explain(content: bytes) -> str:
    """The API server's message, in one line."""
    try:
        message = json.loads(content)["message"]
    except (ValueError, TypeError, KeyError):
        message = content.decode(errors="replace")
    return " ".join(str(message).split())[:500]


def path_of(manifest: Mapping[str, Any]) -> str:
    """The path of the object that a manifest describes."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    metadata = manifest["metadata"]
    prefix = API_PATHS.get(version, f"/apis/{version}")
    if "namespace" in metadata:
        prefix += f"/namespaces/{metadata['namespace']}"
    plural = PLURALS.get(kind, f"{kind.lower()}s")
    return f"{prefix}/{plural}/{metadata['name']}"
