"""Each stage as its pod runs it: by the real Bodywork, from a clone of a release."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import validate

from examples.iris.flowers import MEASUREMENTS
from pipeline import aws
from pipeline.publication import Follower
from sandbox.flowers import deliver_flowers, make_flowers
from sandbox.redis_server import run_redis_server
from sandbox.s3_server import make_bucket
from tests.bodywork_stages.conftest import RELEASE, copy_working_tree, release
from tests.bodywork_stages.runtime_image import RuntimeImage
from tests.deploy.api_server import recorded, run_api_server
from tests.deploy.world import JOBS, LEASE, PREVIOUS, World, make_repository
from tests.stages.services import (
    ENDPOINT,
    ORDER,
    ROOT,
    client,
    persist,
    refuses_connections,
    request_in_flight,
    wait_until,
)

pytestmark = pytest.mark.process

IRIS = ROOT / "examples" / "iris"
FLOWER = dict(zip(MEASUREMENTS, (5.1, 3.5, 1.4, 0.2), strict=True))
# Bodywork itself ends a stage that takes longer.
TIMEOUT_SECONDS = 300


class Pod:
    """Where stages run: the image, an empty directory and what a pod's environment has.

    Attributes:
        environment: Without anything of the environment that the tests run in.
    """

    def __init__(
        self, image: RuntimeImage, repository: Path, directory: Path, **secrets: str
    ) -> None:
        self.repository = repository
        self.directory = directory
        self.environment = {"PATH": image.path, "HOME": str(directory), **secrets}

    def start(self, stage: str, branch: str = RELEASE) -> subprocess.Popen[str]:
        """Start a stage with the command that Bodywork gives to a pod."""
        command = f"bodywork stage file://{self.repository} {stage} --branch={branch}"
        return subprocess.Popen(
            [*command.split(), str(TIMEOUT_SECONDS)],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, stage: str, branch: str = RELEASE) -> tuple[int, str]:
        """Run a stage to its end; returns the exit code and the log."""
        process = self.start(stage, branch)
        log, _ = process.communicate(timeout=2 * TIMEOUT_SECONDS)
        return process.returncode, log


@pytest.fixture
def new_pod(
    image: RuntimeImage,
    repository: Path,
    s3_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[], Pod]:
    return lambda: Pod(
        image,
        repository,
        tmp_path_factory.mktemp("pod"),
        HOST="127.0.0.1",
        PORT="0",
        **s3_environment,
    )


@contextmanager
def serving(
    pod: Pod, branch: str = RELEASE
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the service for the time of a with block; yields it and its address."""
    process = pod.start("serve_model", branch)
    assert process.stdout is not None
    log = ""
    try:
        for line in process.stdout:
            log += line
            if found := re.search(r"Answering on (http://\S+),", line):
                break
        else:
            pytest.fail(log)
        assert client.get(f"{found[1]}/readyz").json()["status"] == "ready"
        yield process, found[1]
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_SECONDS)


def validate_configuration(image: RuntimeImage, repository: Path) -> None:
    """Let Bodywork check the configuration of a repository."""
    process = subprocess.run(
        ["bodywork", "validate", "--check-files"],
        cwd=repository,
        env={"PATH": image.path},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout
    assert "bodywork.yaml is a valid Bodywork config file" in process.stdout
    # Each log would begin with it.
    assert "pkg_resources" not in process.stderr


def test_bodywork_yaml_is_valid(image: RuntimeImage, repository: Path) -> None:
    validate_configuration(image, repository)


def test_training_persists_what_serving_answers_with(
    bucket: str, new_pod: Callable[[], Pod]
) -> None:
    exit_code, log = new_pod().run("train_model")
    assert exit_code == 0, log
    model = aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert f"|train_dataset_key:{model.train_dataset_key}|" in str(model)
    with serving(new_pod()) as (process, address):
        answer = client.post(address + ENDPOINT, json=ORDER)
    assert answer.json() == {
        "est_hours_to_dispatch": model.model.predict([[112, 0]])[0],
        "model_version": str(model),
    }
    assert process.returncode == 0


def test_another_pipeline_runs_where_its_bodywork_yaml_stands_in_the_root(
    image: RuntimeImage,
    repository: Path,
    s3_environment: dict[str, str],
    new_pod: Callable[[], Pod],
) -> None:
    configuration = repository / "bodywork.yaml"
    released = configuration.read_text()
    configuration.write_text((IRIS / "bodywork.yaml").read_text())
    validate_configuration(image, repository)
    release(repository, "iris")
    configuration.write_text(released)

    make_bucket("iris")
    deliver_flowers(make_flowers(), datetime.now(UTC), "iris", "datasets")
    exit_code, log = new_pod().run("train_model", branch="iris")
    assert exit_code == 0, log
    with serving(new_pod(), branch="iris") as (process, address):
        answer = client.post(f"{address}/iris/v1/score", json=FLOWER).json()
    assert answer["species_prediction"] == "setosa"
    assert process.returncode == 0


def test_sigterm_answers_what_is_in_flight_before_the_pod_ends(
    bucket: str, new_pod: Callable[[], Pod]
) -> None:
    """The kernel ends a container with its process 1, so that must be the last."""
    assert new_pod().run("train_model")[0] == 0
    with serving(new_pod()) as (process, address):
        with request_in_flight(address) as finish:
            assert client.get(f"{address}/livez").is_success
            os.kill(process.pid, signal.SIGTERM)
            wait_until(lambda: refuses_connections(address))
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            answer = finish()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"est_hours_to_dispatch" in answer
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0


def test_a_model_below_the_error_threshold_fails_the_stage(
    bucket: str, repository: Path, new_pod: Callable[[], Pod]
) -> None:
    configuration = repository / "bodywork.yaml"
    released = configuration.read_text()
    assert '"0.8", ' in released
    configuration.write_text(released.replace('"0.8", ', '"0.9999", '))
    release(repository, "too-strict")
    configuration.write_text(released)

    exit_code, log = new_pod().run("train_model", branch="too-strict")
    assert exit_code == 1
    assert "is below deployment threshold 0.9999" in log
    assert aws.list_artefacts_on_s3("pkl", bucket, "models") == []


def test_without_a_model_the_service_does_not_start(
    bucket: str, new_pod: Callable[[], Pod]
) -> None:
    exit_code, log = new_pod().run("serve_model")
    assert exit_code == 1
    assert f"found in s3://{bucket}/models/" in log


def test_a_release_that_does_not_exist_fails_the_stage(
    new_pod: Callable[[], Pod],
) -> None:
    exit_code, log = new_pod().run("train_model", branch="release-unknown")
    assert exit_code == 1
    assert "release-unknown not found" in log


def test_a_failure_is_reported(new_pod: Callable[[], Pod]) -> None:
    pod = new_pod()
    pod.environment["EXCEPTION_MESSAGE"] = "job train-model failed"
    pod.environment["ALERT_URLS"] = ""
    exit_code, log = pod.run("report_failure")
    assert exit_code == 0, log
    assert re.search(" - ERROR - .* failed: job train-model failed\n", log)


def test_the_weekly_run_works_with_the_client_of_bodywork(
    image: RuntimeImage, tmp_path: Path
) -> None:
    """As far as Bodywork, which finds no Deployments here, and says so."""
    with run_api_server(tmp_path) as (api, kubeconfig):
        make_repository(tmp_path)
        world = World(tmp_path, api)
        job = recorded("job")
        api.objects |= {JOBS: {"items": [job]}, f"{JOBS}/train-model": job}
        directory = image.root / "opt" / "bodywork"
        process = subprocess.run(
            [f"{directory}/bin/python", "-m", "deploy.releases.weekly_run"]
            + ["bodywork-deployment-jobs", "time-to-dispatch"],
            cwd=directory,
            env={"PATH": image.path, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
        )
    assert process.returncode == 1, process.stdout
    assert f"Deploying {PREVIOUS}, which is released.\n" in process.stdout
    assert "Removed job train-model" in process.stdout
    unable = "Unable to setup namespace: time-to-dispatch"
    assert process.stderr.startswith(f"The weekly run failed: {unable}")
    assert world.calls() == []
    left = [each["metadata"]["name"] for each in api.objects[JOBS]["items"]]
    assert left == ["publish-reports"]
    # With the namespaces of others it has nothing to do.
    assert api.objects[LEASE]["spec"]["holderIdentity"] == ""


def test_bodywork_reaches_an_api_server_like_that_of_eks(
    image: RuntimeImage, tmp_path: Path
) -> None:
    """Its authority lacks a key identifier, which Python 3.13 insists on."""
    with run_api_server(tmp_path) as (api, kubeconfig):
        api.objects = {"/apis/apps/v1/deployments": {"items": []}}
        process = subprocess.run(
            ["bodywork", "get", "deployments"],
            env={"PATH": image.path, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
        )
    assert process.stdout == "No deployments found\n"


BODYWORK = """
from kubernetes import client, config
from bodywork.k8s import monitor_jobs_to_completion
config.load_kube_config()
metadata = client.V1ObjectMeta(name="train-model", namespace="time-to-dispatch")
print(monitor_jobs_to_completion([client.V1Job(metadata=metadata)], 60, 0, 0))
"""
# Takes for Python the neighbour of another command `bodywork`.
WITH_ANOTHER_COMMAND = """
import runpy, sys
del sys.argv[0]
sys.executable = sys.argv[1] + "/python"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def launch(
    image: RuntimeImage, folder: Path, kubeconfig: Path
) -> subprocess.CompletedProcess[str]:
    """Launch the `bodywork` of a folder, as the image's command does its own."""
    program = image.root / "opt" / "bodywork"
    return subprocess.run(
        [f"{program}/bin/python", "-c", WITH_ANOTHER_COMMAND]
        + [f"{program}/deploy/bodywork/launch.py", str(folder)],
        env={"PATH": image.path, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
    )


def test_a_job_whose_end_is_not_counted_yet_is_asked_for_again(
    image: RuntimeImage, tmp_path: Path
) -> None:
    """The API server has it so for some milliseconds, here for one request."""
    uncounted = {"uncountedTerminatedPods": {"succeeded": ["uid"]}}
    statuses = iter([{"active": 1}, uncounted, {"succeeded": 1}])
    namespace = "namespaces/time-to-dispatch"
    pod = recorded("pod")
    pod["metadata"]["name"] = "train-model-abcde"
    pod["status"]["conditions"][0] |= {"status": "True", "reason": None}
    (tmp_path / "bodywork").write_text(BODYWORK)
    with run_api_server(tmp_path) as (api, kubeconfig):
        api.objects = {
            f"/api/v1/{namespace}/pods": {"items": [pod]},
            f"/apis/batch/v1/{namespace}/jobs": lambda: {
                "items": [{**recorded("job"), "status": next(statuses)}]
            },
        }
        process = launch(image, tmp_path, kubeconfig)
    assert process.stdout == "True\n", process.stderr


CREATE_JOB = """
from kubernetes import client, config
from bodywork import k8s
config.load_kube_config()
stage = {"retries": 0, "cpu_request": 1.0, "memory_request": 800}
job = k8s.configure_batch_stage_job("time-to-dispatch", "train_model", "x", **stage)
k8s.create_job(job)
"""


def test_the_pod_of_a_job_is_made_again_when_its_node_is_drained(
    image: RuntimeImage, tmp_path: Path
) -> None:
    (tmp_path / "bodywork").write_text(CREATE_JOB)
    with run_api_server(tmp_path) as (api, kubeconfig):
        process = launch(image, tmp_path, kubeconfig)
    assert process.returncode == 0, process.stderr
    made = api.objects[f"{JOBS}/train-model"]
    [rule] = made["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert made["spec"]["backoffLimit"] == 0
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    without_status = {key: each for key, each in made.items() if key != "status"}
    validate({"apiVersion": "batch/v1", "kind": "Job", **without_status}, "1.32.0")


FAIL = """
from kubernetes import config
from bodywork import workflow_execution as workflow
config.load_kube_config()
class Configuration: pipeline, stages = type("P", (), {"run_on_failure": "x"}), {"x": 0}
workflow._run_batch_stages = lambda stages, variables, *_: print(variables[0].value)
workflow._print_logs_to_stdout("time-to-dispatch", "train-model", True)
workflow._run_failure_stage(Configuration, ValueError("It failed"), *"xxxx")
"""


def test_what_follows_a_failure_is_told_what_the_log_says(
    image: RuntimeImage, tmp_path: Path
) -> None:
    (tmp_path / "bodywork").write_text(FAIL)
    pods = "/api/v1/namespaces/time-to-dispatch/pods"
    pod = recorded("pod")
    pod["metadata"]["name"] = "train-model-abcde"
    with run_api_server(tmp_path) as (api, kubeconfig):
        api.objects = {
            pods: {"items": [pod]},
            f"{pods}/train-model-abcde/log": "2021 - ERROR - train.main - No good.\n",
        }
        process = launch(image, tmp_path, kubeconfig)
    assert process.returncode == 0, process.stderr
    assert "\nIts log says: No good.\n" in process.stdout
    told = "\nIt failed: No good.\nThe failure was reported.\n"
    assert process.stdout.endswith(told)


def test_the_first_steps_of_the_operators_page_work(tmp_path: Path) -> None:
    """Those that need neither an account nor a cluster, on a machine without .venv."""
    copy_working_tree(tmp_path)
    page = (tmp_path / "docs" / "deploy.md").read_text()
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        process = subprocess.run(
            ["sh", "-e", "-c", block], cwd=tmp_path, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stdout + process.stderr
    assert (tmp_path / ".venv" / "bodywork" / "bin" / "bodywork").exists()
    secrets = tmp_path / "deploy" / "secrets"
    assert (secrets / "channels.env").read_text() == (
        "ALERT_URLS=\nREPORT_URLS=\nREPORTS_ADDRESS=\n"
    )
    key = (secrets / "model-signing-key.env").read_text()
    assert re.fullmatch("MODEL_SIGNING_KEY=[0-9a-f]{64}\n", key)


def test_estimates_are_published_by_a_stage_that_the_page_adds(
    image: RuntimeImage, repository: Path, bucket: str, new_pod: Callable[[], Pod]
) -> None:
    page = (ROOT / "docs" / "any-size.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    [added] = [block for block in map(yaml.safe_load, blocks) if "stages" in block]
    path = repository / "bodywork.yaml"
    released = path.read_text()
    # The other order that it tells of, with two stages in a step.
    order = "train_model >> serve_model, publish_estimates"
    assert f"`{order}`" in page
    for dag in (added["pipeline"]["DAG"], order):
        configuration = yaml.safe_load(released)
        configuration["pipeline"]["DAG"] = dag
        configuration["stages"] |= added["stages"]
        path.write_text(yaml.safe_dump(configuration))
        validate_configuration(image, repository)
    release(repository, "publishing")
    path.write_text(released)

    model = persist(bucket)
    with run_redis_server() as address:
        pod = new_pod()
        pod.environment["REDIS_URL"] = address
        exit_code, log = pod.run("publish_estimates", branch="publishing")
        assert exit_code == 0, log
        assert Follower(address, check=str).read_first() == (model, [])
