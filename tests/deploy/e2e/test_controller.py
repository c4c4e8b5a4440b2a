"""Why Bodywork failed is said in the words of who can help."""

import pytest

from deploy.e2e.controller import explain_failure

pytestmark = pytest.mark.once

IMAGE = "account/image:tag"


@pytest.mark.parametrize(
    "failure",
    [
        f"Cannot locate {IMAGE} on DockerHub",
        "cannot connect to https://hub.docker.com/v2/repositories/account/image/tags/"
        "tag to check image exists",
    ],
)
def test_an_image_that_bodywork_does_not_find_is_named(failure: str) -> None:
    """The sentences are those of workflow_execution.py in Bodywork 3.0.12."""
    said = explain_failure("first", IMAGE, f"Deployment failed --> {failure}")
    assert said.startswith(
        f"Bodywork did not deploy first, for it did not find {IMAGE} on Docker Hub"
    )
    assert said.endswith(failure)


def test_another_failure_is_told_by_its_log() -> None:
    said = explain_failure("first", IMAGE, "Deployment failed --> job failed")
    assert said.startswith("Bodywork did not deploy first; its log ends with:\n")
    assert said.endswith("--> job failed")
