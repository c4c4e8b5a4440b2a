"""The Jobs that run a module as training is run: to withdraw, and for the pages."""

import kubernetes_validate
import pytest
import yaml

from deploy.releases import reports, withdrawal
from tests.deploy.test_cluster import VERSIONS
from tests.deploy.world import World

pytestmark = [pytest.mark.once, pytest.mark.process]


def test_they_are_pods_that_the_cluster_takes_with_what_training_has(
    world: World,
) -> None:
    world.works = False
    assert "is not released" in world.release()
    configuration = yaml.safe_load((world.clone / "bodywork.yaml").read_text())
    expected = configuration["stages"]["train_model"]["secrets"].items()
    names = [job["metadata"]["name"] for job in world.jobs]
    assert names == [withdrawal.NAME, reports.NAME]
    for job in world.jobs:
        for version in VERSIONS:
            kubernetes_validate.validate(job, version, strict=True)
        [container] = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == configuration["pipeline"]["docker_image"]
        secrets = {
            each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]
        }
        assert secrets == {
            variable: {"name": secret, "key": variable} for variable, secret in expected
        }
        # Found and removed as what Bodywork leaves behind.
        assert job["metadata"]["labels"]["app"] == "bodywork"
        assert job["spec"]["ttlSecondsAfterFinished"] == 3600
        assert job["spec"]["activeDeadlineSeconds"] <= 600
