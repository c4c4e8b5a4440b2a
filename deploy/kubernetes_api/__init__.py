"""The Kubernetes API server: reached, asked in its own JSON, and waited for."""

from deploy.kubernetes_api.server import (
    JSON_PATCH,
    STRATEGIC_MERGE,
    ApiError,
    Cluster,
    UnreachableError,
    accept_authorities_of_eks,
    path_of,
)
from deploy.kubernetes_api.waiting import POLL_SECONDS, NotYetError, wait_for

__all__ = [
    "JSON_PATCH",
    "POLL_SECONDS",
    "STRATEGIC_MERGE",
    "ApiError",
    "Cluster",
    "NotYetError",
    "UnreachableError",
    "accept_authorities_of_eks",
    "path_of",
    "wait_for",
]
