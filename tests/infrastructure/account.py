"""The environments of infrastructure/, applied to an AWS account of moto's.

Not named test_*.py, so that `make test` leaves it out: `make infrastructure` runs it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from types_boto3_s3 import S3Client

from pipeline.aws import s3_client
from sandbox.orders import deliver_week, make_week
from sandbox.ports import HOST
from sandbox.processes import ROOT, run_process
from sandbox.s3_server import REGION

pytestmark = pytest.mark.process

INFRASTRUCTURE = ROOT / "infrastructure"
ROOTS = ["", "elsewhere"]
STATES = "states"
BUCKET = "time-to-dispatch"
KEY = "k" * 32
PRODUCTION = ["-var-file=production.tfvars", "-var", "image_tag=abc1234"]
# Moto tells nothing of the grace period of the one, and of EventBridge of the other.
FORGOTTEN = {
    "aws_ecs_service.service",
    "module.bucket.aws_s3_bucket_notification.pipeline",
}
# Of moto: it knows no bucket by its host's name.
OVERRIDE = """
provider "aws" {
  s3_use_path_style = true
  max_retries       = 5
}
terraform {
  backend "s3" {
    use_path_style = true
  }
}
"""


def not_run(reason: str) -> None:
    """Skip all of it, and say so; where it has to run, fail."""
    told = f"not run: {reason}"
    if {"CIRCLECI", "GITHUB_ACTIONS"} & set(os.environ):
        pytest.fail(told)
    pytest.skip(told)


class Terraform(NamedTuple):
    """The program, in a copy of one of the roots."""

    folder: Path
    environment: dict[str, str]

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env={**os.environ, "TF_IN_AUTOMATION": "1", **self.environment},
            capture_output=True,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout


def copy_of(root: str, directory: Path, **environment: str) -> Terraform:
    """A copy of all roots, in which one is worked with."""
    if shutil.which("terraform") is None:
        not_run("Terraform is not installed.")
    shutil.copytree(
        INFRASTRUCTURE, directory, ignore=shutil.ignore_patterns(".terraform")
    )
    return Terraform(directory / root, environment)


def initialise(terraform: Terraform, *arguments: str) -> None:
    process = terraform.start("init", "-no-color", "-lockfile=readonly", *arguments)
    if "Failed to query available provider packages" in process.stderr:
        not_run("Terraform's AWS provider cannot be installed.")
    assert process.returncode == 0, process.stdout + process.stderr


def test_each_file_is_formatted(tmp_path: Path) -> None:
    copy_of("", tmp_path / "copy").run("fmt", "-check", "-recursive", "-diff")


@pytest.mark.parametrize("root", ROOTS)
def test_each_root_is_valid(root: str, tmp_path: Path) -> None:
    terraform = copy_of(root, tmp_path / "copy")
    initialise(terraform, "-backend=false")
    terraform.run("validate")


def backend(key: str) -> list[str]:
    """Where the state of an environment is."""
    where = {"bucket": STATES, "key": key, "region": REGION}
    return [f"-backend-config={name}={value}" for name, value in where.items()]


class Account(NamedTuple):
    """An account of moto's, with what applied to it.

    Attributes:
        folder: Where tests say what goes wrong, and read what was run.
    """

    folder: Path
    terraform: Terraform

    def let(self, **world: object) -> None:
        (self.folder / "world.json").write_text(json.dumps(world))
        for log in ("tasks.log", "served.log"):
            (self.folder / log).write_text("")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def outputs(self) -> dict[str, str]:
        told = json.loads(self.terraform.run("output", "-json"))
        return {name: output["value"] for name, output in told.items()}

    def models(self) -> list[str]:
        listed = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="models/")
        return [each["Key"] for each in listed["Contents"]]

    def page(self, name: str) -> str:
        stored = boto3.client("s3").get_object(Bucket=BUCKET, Key=f"reports/{name}")
        return stored["Body"].read().decode()

    def run(self) -> dict[str, Any]:
        """Start the state machine, and wait for its end; returns its description."""
        machine = client("stepfunctions")
        [found] = machine.list_state_machines()["stateMachines"]
        started = machine.start_execution(
            stateMachineArn=found["stateMachineArn"], name=str(uuid4())
        )
        return self.end_of(started["executionArn"])

    def end_of(self, execution: str) -> dict[str, Any]:
        machine = client("stepfunctions")
        while True:
            described: dict[str, Any] = machine.describe_execution(
                executionArn=execution
            )
            if described["status"] != "RUNNING":
                return described
            time.sleep(0.2)

    def states(self, described: dict[str, Any]) -> list[str]:
        """The states that an execution went through."""
        machine = client("stepfunctions")
        history = machine.get_execution_history(
            executionArn=described["executionArn"], maxResults=1000
        )
        details = [each.get("stateEnteredEventDetails") for each in history["events"]]
        return [each["name"] for each in details if each]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account in which the production environment was applied."""
    folder = tmp_path_factory.mktemp("account")
    terraform = copy_of("", folder / "copy")
    (terraform.folder / "moto_override.tf").write_text(OVERRIDE)
    with (
        pytest.MonkeyPatch.context() as patch,
        run_process(
            *(sys.executable, "-m", "tests.infrastructure.aws_server", str(folder)),
            stdout=subprocess.PIPE,
        ) as server,
    ):
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        assert port
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        s3_client.cache_clear()
        made = Account(folder, terraform)
        made.let()
        boto3.client("s3").create_bucket(
            Bucket=STATES, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        initialise(terraform, *backend("production"))
        terraform.run("apply", "-auto-approve", *PRODUCTION)
        put_secrets()
        yield made
    s3_client.cache_clear()


def deliver(seed: int, at: datetime, factor: float = 1.0) -> str:
    """Deliver a week; returns its key."""
    week = make_week(rows=1000, seed=seed)
    week["hours_to_dispatch"] *= factor
    return deliver_week(week, at, BUCKET, "datasets").partition(f"{BUCKET}/")[2]


def client(service: str) -> Any:
    return boto3.client(service)  # type: ignore[call-overload]


def client_of(stage: str) -> S3Client:
    """A client with the credentials of a stage's role."""
    assumed = client("sts").assume_role(
        RoleArn=f"arn:aws:iam::123456789012:role/{BUCKET}-{stage}",
        RoleSessionName="test",
    )["Credentials"]
    return boto3.client(
        "s3",
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )


def receive(queue: str) -> list[str]:
    received = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [each["Body"] for each in received.get("Messages", [])]


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


Inbox = Callable[[], list[dict[str, str]]]


@pytest.fixture
def inbox(account: Account) -> Iterator[Inbox]:
    """What operators are told, in the time of a test."""
    sns, sqs = client("sns"), client("sqs")
    queue = sqs.create_queue(QueueName=f"operators-{uuid4()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    [topic] = sns.list_topics()["Topics"]
    subscribed = sns.subscribe(
        TopicArn=topic["TopicArn"],
        Protocol="sqs",
        Endpoint=arn["Attributes"]["QueueArn"],
    )
    yield lambda: [json.loads(each) for each in receive(queue)]
    sns.unsubscribe(SubscriptionArn=subscribed["SubscriptionArn"])
    sqs.delete_queue(QueueUrl=queue)


def put_secrets() -> None:
    """As docs/aws.md does."""
    secrets = client("secretsmanager")
    for name, value in {
        "model-signing-key": KEY,
        "channels": json.dumps({"ALERT_URLS": "", "REPORT_URLS": ""}),
    }.items():
        secrets.put_secret_value(
            SecretId=f"time-to-dispatch/{name}", SecretString=value
        )


def test_what_was_applied_is_all_there_is_to_apply(account: Account) -> None:
    account.terraform.run("plan", "-out=plan", *PRODUCTION)
    planned = json.loads(account.terraform.run("show", "-json", "plan"))
    assert {
        each["address"]
        for each in planned["resource_changes"]
        if each["change"]["actions"] != ["no-op"]
    } == FORGOTTEN


def test_the_state_is_in_its_bucket_and_no_secret_in_it(account: Account) -> None:
    account.terraform.run("refresh", *PRODUCTION)
    stored = boto3.client("s3").get_object(Bucket=STATES, Key="production")
    state = stored["Body"].read().decode()
    assert "aws_sfn_state_machine" in state
    assert KEY not in state


def test_the_bucket_keeps_what_going_back_needs(account: Account) -> None:
    s3 = boto3.client("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert len(rules) == 2
    assert not [rule for rule in rules if "Expiration" in rule or "Transitions" in rule]
    for bucket in (BUCKET, f"{BUCKET}-access-log"):
        blocked = s3.get_public_access_block(Bucket=bucket)
        assert all(blocked["PublicAccessBlockConfiguration"].values())
        encryption = s3.get_bucket_encryption(Bucket=bucket)
        assert "AES256" in str(encryption["ServerSideEncryptionConfiguration"])
    logging = s3.get_bucket_logging(Bucket=BUCKET)["LoggingEnabled"]
    assert logging["TargetBucket"] == f"{BUCKET}-access-log"


def test_a_delivery_starts_a_run_and_so_does_friday(account: Account) -> None:
    events = client("events")
    machine = account.outputs()["state_machine"]
    for rule in ("delivery", "weekly"):
        [target] = events.list_targets_by_rule(Rule=f"{BUCKET}-{rule}")["Targets"]
        assert (target["Arn"], target["Input"]) == (machine, "{}")
    weekly = events.describe_rule(Name=f"{BUCKET}-weekly")
    assert weekly["ScheduleExpression"] == "cron(45 23 ? * FRI *)"
    machines = client("stepfunctions")

    def started() -> list[str]:
        listed = machines.list_executions(stateMachineArn=machine)["executions"]
        return [each["executionArn"] for each in listed]

    account.let(starts_runs=True)
    s3 = boto3.client("s3")
    s3.put_object(Bucket=BUCKET, Key="models/none.pkl")
    s3.delete_object(Bucket=BUCKET, Key="models/none.pkl")
    assert started() == []
    deliver(1, datetime.now(UTC) - timedelta(days=8))
    account.let()
    [execution] = started()
    ended = account.end_of(execution)
    assert ended["status"] == "SUCCEEDED", account.log("tasks")
    assert len(account.models()) == 1


def test_a_run_learns_the_delivery_and_replaces_the_replicas(account: Account) -> None:
    account.let(without_capacity=2)
    key = deliver(2, datetime.now(UTC) - timedelta(days=2))
    ended = account.run()
    assert ended["status"] == "SUCCEEDED", account.log("tasks")
    assert account.log("tasks").count("no capacity\n") == 2
    assert f"|train_dataset_key:{key}|" in account.log("served")
    assert "|pipeline_git_commit_hash:abc1234" in account.log("served")
    # What the index shows is the record of this run.
    assert key.rpartition("/")[2][-23:-13] in account.page("index.html")


def test_what_was_learnt_is_not_learnt_again(account: Account) -> None:
    account.let()
    before = account.models()
    assert account.run()["status"] == "SUCCEEDED"
    assert "a model was trained on" in account.log("tasks")
    assert account.models() == before


def test_pages_that_cannot_be_published_change_nothing(account: Account) -> None:
    account.let(without_pages=True)
    assert account.run()["status"] == "SUCCEEDED"


def test_a_service_that_does_not_start_is_told(account: Account, inbox: Inbox) -> None:
    """It is left without its policy, so that it finds no model."""
    iam = client("iam")
    named = {"RoleName": f"{BUCKET}-serve-model", "PolicyName": "serve-model"}
    policy = json.dumps(iam.get_role_policy(**named)["PolicyDocument"])
    iam.delete_role_policy(**named)
    account.let()
    ended = account.run()
    iam.put_role_policy(**named, PolicyDocument=policy)
    assert "AccessDenied" in account.log("served")
    assert ended["cause"].startswith("ServiceNotRolled: ")
    [message] = inbox()
    assert "the old ones go on" in message["Message"]


def test_replicas_that_are_never_replaced_are_told(
    account: Account, inbox: Inbox
) -> None:
    account.let(is_stuck=True)
    ended = account.run()
    assert ended["cause"].startswith("ServiceNotRolled: ")
    assert account.states(ended).count("Look") == 80
    [message] = inbox()
    assert "within 20 minutes" in message["Message"]


def test_what_ecs_does_not_do_is_tried_again_and_told(
    account: Account, inbox: Inbox
) -> None:
    account.let(is_away=True)
    ended = account.run()
    assert ended["status"] == "FAILED"
    assert account.log("served").count("ECS is away") == 6
    [message] = inbox()
    assert "ECS is away." in message["Message"]


def test_a_refused_delivery_is_told_once_and_the_service_stays(
    account: Account, inbox: Inbox
) -> None:
    account.let()
    before = account.models()
    key = deliver(3, datetime.now(UTC) - timedelta(days=1), factor=60)
    ended = account.run()
    assert ended["cause"].startswith("States.TaskFailed: ")
    assert account.log("tasks").count(f"{key} refused") == 1
    assert account.models() == before
    assert account.log("served") == ""
    assert "refused" in account.page("index.html")
    [message] = inbox()
    assert message["Subject"] == f"{BUCKET}: the run failed"
    assert '"ExitCode": 1' in message["Message"]


def test_a_failure_that_cannot_be_told_is_one(account: Account) -> None:
    """It is the refused delivery again."""
    account.let()
    sns = client("sns")
    [topic] = sns.list_topics()["Topics"]
    sns.delete_topic(TopicArn=topic["TopicArn"])
    ended = account.run()
    assert ended["cause"].startswith("States.TaskFailed: ")
    assert account.states(ended)[-4:] == ["Tell", "PublishPages", "End", "Failed"]


@pytest.mark.parametrize(
    "stage, action, key, is_allowed",
    [
        ("train-model", "read", "datasets/week.csv", True),
        ("train-model", "read", "models/m.pkl", True),
        ("train-model", "read", "elsewhere/secret", False),
        ("train-model", "add", "models/new.pkl", True),
        ("train-model", "add", "datasets/new.csv", False),
        ("train-model", "overwrite", "models/m.pkl", False),
        ("train-model", "overwrite", "runs/r.json", False),
        ("train-model", "overwrite", "reports/index.html", True),
        ("train-model", "delete", "models/m.pkl", False),
        ("train-model", "delete", "reports/index.html", False),
        ("serve-model", "read", "models/m.pkl", True),
        ("serve-model", "read", "datasets/week.csv", False),
        ("serve-model", "add", "models/new.pkl", False),
        ("serve-model", "overwrite", "reports/index.html", False),
        ("serve-model", "delete", "models/m.pkl", False),
    ],
)
def test_a_stage_may_do_what_it_has_to_and_no_more(
    account: Account, stage: str, action: str, key: str, is_allowed: bool
) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key)
    s3 = client_of(stage)
    new = f"{key}.{uuid4()}"
    act: dict[str, Callable[[], object]] = {
        "read": lambda: s3.get_object(Bucket=BUCKET, Key=key),
        "add": lambda: s3.put_object(Bucket=BUCKET, Key=new, IfNoneMatch="*"),
        "overwrite": lambda: s3.put_object(Bucket=BUCKET, Key=key),
        "delete": lambda: s3.delete_object(Bucket=BUCKET, Key=key),
    }
    if is_allowed:
        act[action]()
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            act[action]()


@pytest.mark.parametrize(
    "stage, prefix, is_allowed",
    [
        ("train-model", "datasets/", True),
        ("train-model", "", False),
        ("serve-model", "models/", True),
        ("serve-model", "runs/", False),
    ],
)
def test_a_stage_lists_its_folders_alone(
    account: Account, stage: str, prefix: str, is_allowed: bool
) -> None:
    s3 = client_of(stage)
    if is_allowed:
        s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)


def test_a_run_may_do_what_its_states_do(account: Account) -> None:
    """Moto does not hold Step Functions to its role."""
    statements = client("iam").get_role_policy(
        RoleName=f"{BUCKET}-run", PolicyName="run"
    )["PolicyDocument"]["Statement"]
    machine = client("stepfunctions").describe_state_machine(
        stateMachineArn=account.outputs()["state_machine"]
    )
    states = json.loads(machine["definition"])["States"]
    ecs = client("ecs")
    service = ecs.describe_services(
        cluster=BUCKET, services=[states["Roll"]["Parameters"]["Service"]]
    )["services"][0]["serviceArn"]
    task = states["Train"]["Parameters"]["TaskDefinition"]
    assert states["PublishPages"]["Parameters"]["TaskDefinition"] == task
    definition = ecs.describe_task_definition(taskDefinition=task)["taskDefinition"]
    for action, resource in [
        ("ecs:RunTask", task),
        ("iam:PassRole", definition["taskRoleArn"]),
        ("iam:PassRole", definition["executionRoleArn"]),
        ("ecs:UpdateService", service),
        ("ecs:DescribeServices", service),
        ("sns:Publish", states["Tell"]["Parameters"]["TopicArn"]),
    ]:
        assert any(
            action in as_list(each["Action"])
            and any(fnmatchcase(resource, one) for one in as_list(each["Resource"]))
            for each in statements
        ), action
    assert {state["Resource"] for state in states.values() if "Resource" in state} == {
        "arn:aws:states:::ecs:runTask.sync",
        "arn:aws:states:::ecs:runTask",
        "arn:aws:states:::aws-sdk:ecs:updateService",
        "arn:aws:states:::aws-sdk:ecs:describeServices",
        "arn:aws:states:::sns:publish",
    }


def test_all_of_it_is_destroyed_when_the_bucket_is_empty(account: Account) -> None:
    boto3.resource("s3").Bucket(BUCKET).object_versions.delete()
    account.terraform.run("destroy", "-auto-approve", *PRODUCTION)
    assert account.terraform.run("state", "list") == ""
    assert client("stepfunctions").list_state_machines()["stateMachines"] == []


def test_staging_is_of_the_same_code_and_has_names_of_its_own(
    account: Account,
) -> None:
    initialise(account.terraform, "-reconfigure", *backend("staging"))
    chosen = ["-var-file=staging.tfvars", "-var", "image_tag=abc1234"]
    account.terraform.run("plan", "-out=staging", *chosen)
    planned = json.loads(account.terraform.run("show", "-json", "staging"))
    values = [
        each["change"]["after"]
        for each in planned["resource_changes"]
        # Named within their roles alone.
        if each["type"] != "aws_iam_role_policy"
    ]
    names = [
        each[key] for each in values for key in ("name", "bucket") if each.get(key)
    ]
    assert len(names) > 20
    assert [name for name in names if "-staging" not in name] == []


def test_pods_and_workflows_have_the_policies_of_the_tasks(account: Account) -> None:
    terraform = account.terraform._replace(folder=account.folder / "copy/elsewhere")
    (terraform.folder / "moto_override.tf").write_text(OVERRIDE)
    initialise(terraform, *backend("elsewhere"))
    chosen = ["-var=bucket=another", f"-var=region={REGION}"]
    terraform.run(
        *("apply", "-auto-approve", *chosen, "-var=github_repository=owner/name")
    )
    iam = client("iam")
    for stage in ("train-model", "serve-model"):
        policy = iam.get_user_policy(UserName=stage, PolicyName=stage)["PolicyDocument"]
        template = (INFRASTRUCTURE / "policies" / f"{stage}.json").read_text()
        assert policy == json.loads(template.replace("${bucket}", "another"))
    role = iam.get_role(RoleName="github")["Role"]["AssumeRolePolicyDocument"]
    assert "repo:owner/name:ref:refs/heads/master" in str(role)
    trains = iam.get_role_policy(RoleName="github", PolicyName="train-model")
    assert (
        trains["PolicyDocument"]
        == iam.get_user_policy(UserName="train-model", PolicyName="train-model")[
            "PolicyDocument"
        ]
    )
