"""The Kubernetes API server, asked in its own JSON, which `kubectl -o json` shows."""

import json
import os
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from kubernetes import client, config
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, ssl_

from deploy.kubernetes_api.waiting import NotYetError

# In seconds. The service answers through the API server.
TIMEOUT = Timeout(connect=10, read=30)
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
TOO_MANY_REQUESTS = 429

API_PATHS = {"v1": "/api/v1"}
PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}


class ApiError(RuntimeError):
    """An answer of the API server, or of a service behind it, that is no success.

    Attributes:
        status: The HTTP status code.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class UnavailableError(ApiError, NotYetError):
    """An answer that may be another one a moment later: 429, or 500 and above."""


class UnreachableError(NotYetError):
    """The API server could not be reached."""


def accept_authorities_of_eks() -> None:
    """Accept certificates whose authority has no key identifier, as those of EKS.

    Python 3.13 refuses them, and the client of Kubernetes has no option for it:
    kubernetes-client/python#2394.
    """
    vars(ssl_)["VERIFY_X509_STRICT"] = ssl.VerifyFlags(0)


class Cluster:
    """A cluster: of the pod that this runs in, or of a kubeconfig's current context."""

    def __init__(self) -> None:
        """Find the cluster as Bodywork does, so that both speak of the same one.

        Raises:
            RuntimeError: None is configured, or it cannot be used.
        """
        accept_authorities_of_eks()
        configuration = client.Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(configuration)
            else:
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
            ApiError: The API server, or the service behind it, refused it.
            UnavailableError: It could not answer now.
            UnreachableError: The API server could not be reached.
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
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def patch(self, path: str, body: object, content_type: str) -> Any:
        return json.loads(self.request("PATCH", path, body, content_type))

    def create(self, manifest: Mapping[str, Any]) -> Any:
        """Make an object, unless it is there already or has a field that is unknown."""
        folder = path_of(manifest).rpartition("/")[0]
        query = {"fieldValidation": "Strict"}
        return json.loads(self.request("POST", folder, manifest, **query))

    def replace(self, manifest: Mapping[str, Any]) -> Any:
        """Put an object in the place of the one of its name.

        With a resourceVersion, only if nobody has changed that one meanwhile: else an
        ApiError of status 409.
        """
        return json.loads(self.request("PUT", path_of(manifest), manifest))

    def delete(self, path: str, propagation_policy: str = "Background") -> None:
        """Delete an object, and what it owns; one that is gone is no failure."""
        try:
            self.request("DELETE", path, propagationPolicy=propagation_policy)
        except ApiError as error:
            if error.status != 404:
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
        configuration = self.client.configuration
        # Read anew each time, for tokens expire.
        authorization = configuration.auth_settings().values()
        headers = {
            **{each["key"]: each["value"] for each in authorization},
            "Accept": "*/*",
            "Content-Type": content_type,
            # On a connection of its own, each meets the service as a new client.
            "Connection": "close",
        }
        url = self.address + path + (f"?{urlencode(query)}" if query else "")
        try:
            # The pool, for it is the same in the older client that Bodywork needs.
            response = self.client.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=TIMEOUT,
            )
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"The API server {self.address} does not answer ({error}); check the "
                "kubeconfig and the network."
            ) from error
        if not 200 <= response.status < 300:
            kind = ApiError
            if response.status >= 500 or response.status == TOO_MANY_REQUESTS:
                kind = UnavailableError
            raise kind(
                f"The cluster refused {method} {path}: {response.status} "
                f"{explain(response.data)}",
                response.status,
            )
        return response.data, response.headers


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
