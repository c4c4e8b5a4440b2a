"""The cluster that the Kubernetes client of this process is configured for."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def use_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let the client read a kubeconfig; it reads KUBECONFIG when it is imported."""
    return lambda kubeconfig: monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig)
    )
