"""The name of the runtime image, whose tag is derived from what goes into it.

Print it: python -m deploy.image
Write it into bodywork.yaml and deploy/dask, after a change of the Dockerfile or of what
it copies: --write
"""

import re
import sys
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = "deploy/Dockerfile"
CONFIGURATION = ROOT / "bodywork.yaml"
DASK = ROOT / "deploy" / "dask" / "kustomization.yaml"

COPY = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)
DOCKER_IMAGE = re.compile(r"(?<=^  docker_image: )([^\s:]+):(\S+)$", re.MULTILINE)
DASK_IMAGE = re.compile(r"(?<=^    newName: )\S+\n    newTag: \S+$", re.MULTILINE)
TAG_LENGTH = 16


def ingredients(dockerfile: str) -> list[str]:
    """Name the files of the repository that go into the image."""
    lines = re.sub(r"\\\n\s*", "", dockerfile)
    copied = [name for names in COPY.findall(lines) for name in names.split()]
    return [DOCKERFILE, *copied]


def make_tag(root: Path = ROOT) -> str:
    """Derive the tag from the content of the Dockerfile and of each file it copies."""
    digest = sha256()
    for name in ingredients((root / DOCKERFILE).read_text()):
        digest.update(sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()[:TAG_LENGTH]


def image_name() -> str:
    """Make the image's name, as account/repository:tag.

    Account and repository are those of bodywork.yaml.

    Raises:
        RuntimeError: It names no image.
    """
    found = DOCKER_IMAGE.search(CONFIGURATION.read_text())
    if found is None:
        raise RuntimeError(
            f"{CONFIGURATION.name} names no docker_image; "
            "give it one, like account/repository:tag."
        )
    return f"{found[1]}:{make_tag()}"


def write_image_name() -> None:
    """Put the image's name into bodywork.yaml, and to Dask's workers."""
    name, _, tag = image_name().partition(":")
    for path, image, written in (
        (CONFIGURATION, DOCKER_IMAGE, f"{name}:{tag}"),
        (DASK, DASK_IMAGE, f"{name}\n    newTag: {tag}"),
    ):
        path.write_text(image.sub(written, path.read_text()))


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit(f"Invalid arguments: expected none or --write.\n\n{__doc__}")
    try:
        if sys.argv[1:]:
            write_image_name()
        print(image_name())
    except RuntimeError as error:
        sys.exit(str(error))
