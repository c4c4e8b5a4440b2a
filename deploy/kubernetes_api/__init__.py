"""The Kubernetes API server: how it is reached, and asked in its own JSON."""

from deploy.kubernetes_api.server import (
    JSON_PATCH,
    STRATEGIC_MERGE,
    Cluster,
    Refusal,
    path_of,
)

__all__ = ["JSON_PATCH", "STRATEGIC_MERGE", "Cluster", "Refusal", "path_of"]
