"""The cluster that the Kubernetes client of this process is configured for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace

import pytest

from deploy.kubernetes_api import waiting
from tests.deploy.api_server import ApiServer, run_api_server
from tests.deploy.world import World, make_repository


@pytest.fixture(scope="session")
def api_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ApiServer, Path]]:
    """One double for many tests, with the path of its kubeconfig."""
    with run_api_server(tmp_path_factory.mktemp("api_server")) as started:
        yield started


@pytest.fixture
def use_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let the client read a kubeconfig; it reads KUBECONFIG when it is imported."""
    return lambda kubeconfig: monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig)
    )


@pytest.fixture
def api(
    api_server: tuple[ApiServer, Path], use_kubeconfig: Callable[[Path], None]
) -> ApiServer:
    """The double, without anything in it, as the cluster of this process."""
    server, kubeconfig = api_server
    use_kubeconfig(kubeconfig)
    vars(server).update(vars(ApiServer()))
    return server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock for what waits: no time passes but what it sleeps."""
    moved = SimpleNamespace(seconds=0.0)

    def sleep(seconds: float) -> None:
        moved.seconds += seconds

    moved.time = SimpleNamespace(monotonic=lambda: moved.seconds, sleep=sleep)
    monkeypatch.setattr(waiting, "time", moved.time)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 10)
    yield moved


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what each world begins with, to be copied."""
    directory = tmp_path_factory.mktemp("repository")
    make_repository(directory)
    return directory


@pytest.fixture
def world(
    repository: Path,
    tmp_path: Path,
    api: ApiServer,
    clock: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """A repository, a cluster with a previous release on it, and Bodywork."""
    copytree(repository, tmp_path, dirs_exist_ok=True)
    made = World(tmp_path, api)
    monkeypatch.setenv("PATH", str(made.python.parent), prepend=":")
    return made
