"""The manifests of deploy/, as they are but for the names of an end-to-end run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy.releases import ROOT

NAME = "time-to-dispatch"
CLUSTER = ROOT / "deploy" / "cluster"
HERE = Path(__file__).parent


def load(path: Path, name: str = NAME, image: str = "") -> list[dict[str, Any]]:
    """Load the manifests of a file.

    Args:
        name: For each string that is the pipeline's name, or begins with it and a
            hyphen: that of the namespace, of the secrets group, ...
        image: For each container.
    """
    manifests = [rename(each, name) for each in yaml.safe_load_all(path.read_text())]
    if image:
        for manifest in manifests:
            for container in containers(manifest):
                container["image"] = image
    return manifests


def rename(value: Any, name: str) -> Any:
    """Put a name in place of the pipeline's, where a string is it or begins so."""
    if isinstance(value, dict):
        return {key: rename(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [rename(item, name) for item in value]
    if value == NAME or isinstance(value, str) and value.startswith(f"{NAME}-"):
        return name + value.removeprefix(NAME)
    return value


def containers(value: Any) -> Iterator[dict[str, Any]]:
    """Find each container of a manifest, wherever its pod stands."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("containers", "initContainers"):
                yield from item
            else:
                yield from containers(item)
