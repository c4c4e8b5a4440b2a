"""An AWS account on a free port of the loopback: moto's, and stand-ins for ECS.

Usage: python -m tests.infrastructure.aws_server FOLDER

Prints the port once it answers. Who comes with the credentials of a role is held to its
policies, in S3 alone: by moto, and their conditions here. Tasks run what their
definition says, with its environment, its secrets and the credentials of its role; of
the replicas of the service, one is started and asked. FOLDER has `world.json`, in which
a test says what goes wrong, and gets `tasks.log` and `served.log`.
"""

import json
import logging
import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import boto3
from flask import request
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.config import default_user_config
from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend
from moto.events.models import Rule
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.server import ThreadedMotoServer
from moto.stepfunctions.parser.api import HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (  # noqa: E501
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (  # noqa: E501
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (  # noqa: E501
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import (  # noqa: E501
    StateTaskService,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_ecs import (  # noqa: E501
    StateTaskServiceEcs,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (  # noqa: E501
    WaitFunction,
)
from moto.stepfunctions.responses import StepFunctionResponse

from sandbox.ports import HOST
from sandbox.processes import ROOT
from sandbox.s3_server import REGION

FOLDER = Path(sys.argv[-1])


def world() -> dict[str, Any]:
    """What a test wants to go wrong."""
    told: dict[str, Any] = json.loads((FOLDER / "world.json").read_text())
    return told


def note(file: str, line: str) -> None:
    with (FOLDER / file).open("a") as opened:
        opened.write(f"{line}\n")


def client(service: str) -> Any:
    return boto3.client(service)  # type: ignore[call-overload]


def start_container(
    definition: str | None, overrides: dict[str, Any]
) -> subprocess.Popen[str]:
    """Start the container of a task definition."""
    assert definition is not None
    described = client("ecs").describe_task_definition(taskDefinition=definition)
    [container] = described["taskDefinition"]["containerDefinitions"]
    [changed] = overrides.get("containerOverrides") or [{}]
    program, *arguments = changed.get("command") or container["command"]
    assert program == "python"
    assumed = client("sts").assume_role(
        RoleArn=described["taskDefinition"]["taskRoleArn"], RoleSessionName="task"
    )["Credentials"]
    note("tasks.log", " ".join([container["name"], *arguments]))
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={
            **{each["name"]: each["value"] for each in container["environment"]},
            **{
                each["name"]: secret(each["valueFrom"]) for each in container["secrets"]
            },
            "PATH": os.environ["PATH"],
            "HOST": HOST,
            "PORT": "0",
            "no_proxy": HOST,
            "OMP_NUM_THREADS": "1",
            "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
            "AWS_ACCESS_KEY_ID": assumed["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"],
            "AWS_SESSION_TOKEN": assumed["SessionToken"],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def secret(source: str) -> str:
    """The value of ARN, or of ARN:KEY::, as ECS hands it over."""
    arn, key = ":".join(source.split(":")[:7]), source.split(":")[7:8]
    value = client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    return str(json.loads(value)[key[0]]) if key else str(value)


run_task = EC2ContainerServiceBackend.run_task
update_service = EC2ContainerServiceBackend.update_service
describe_services = EC2ContainerServiceBackend.describe_services


def shapes(self: Any, action: str | None) -> Any:
    """What a service of Step Functions takes and gives, as boto3 spells it."""
    service = client(self._get_boto_service_name())
    name = service.meta.method_to_api_mapping[action or self._get_boto_service_action()]
    return service.meta.service_model.operation_model(name)


def to_boto(
    self: Any, parameters: Any, _: str | None = None, action: str | None = None
) -> None:
    """Moto hands parameters on as Step Functions spells them, and ECS takes none."""
    self._to_boto_request(parameters, shapes(self, action).input_shape)


def from_boto(
    self: Any,
    response: Any,
    boto_service_name: str | None = None,
    service_action_name: str | None = None,
) -> None:
    shape = shapes(self, service_action_name).output_shape
    self._from_boto_response(response, shape)
    # Times are text.
    response |= json.loads(json.dumps(response, default=str))


def start_run(self: Any, event: dict[str, Any], **_: Any) -> None:
    """What EventBridge does, if a test wants it to; moto knows no state machines."""
    # Moto takes a schedule for a pattern that all events match.
    is_its = not self.scheduled_expression and self.event_pattern.matches_event(event)
    if world().get("starts_runs") and is_its:
        for target in self.targets:
            client("stepfunctions").start_execution(
                stateMachineArn=target["Arn"], name=str(uuid4()), input=target["Input"]
            )


is_action_permitted = IAMPolicyStatement.is_action_permitted
authorize = ActionAuthenticatorMixin._authenticate_and_authorize_action

# By the task's ARN; None of one that did not begin.
exit_codes: dict[str, int | None] = {}


def run_container(self: Any, *arguments: Any, **settings: Any) -> Any:
    """RunTask, which is over when the container is."""
    tasks = run_task(self, *arguments, **settings)
    [task] = tasks
    told = world()
    if told.get("without_pages") and task.overrides:
        raise InvalidParameterException("No pages.")
    if told.get("without_capacity"):
        told["without_capacity"] -= 1
        (FOLDER / "world.json").write_text(json.dumps(told))
        note("tasks.log", "no capacity")
        exit_codes[task.task_arn] = None
        return tasks
    process = start_container(task.task_definition_arn, task.overrides or {})
    log, _ = process.communicate()
    note("tasks.log", log)
    exit_codes[task.task_arn] = process.returncode
    return tasks


def end_of_task(self: Any, env: Any, *_: Any, **__: Any) -> Any:
    """What Step Functions makes of a task that has ended, and moto does not."""
    [task] = env.stack.pop()["Tasks"]
    code = exit_codes[task["TaskArn"]]
    if code == 0:
        return lambda: task
    error, cause = "AmazonECS.Unknown", "No capacity."
    name: Any = CustomErrorName(error)
    if code is not None:
        name = StatesErrorName(StatesErrorNameType.StatesTaskFailed)
        error = "States.TaskFailed"
        cause = json.dumps({"Containers": [{"ExitCode": code}]})
    details: Any = {"taskFailedEventDetails": {"error": error, "cause": cause}}
    raise FailureEventException(
        FailureEvent(
            env=env,
            error_name=name,
            event_type=HistoryEventType.TaskFailed,
            event_details=details,
        )
    )


def replace_replicas(self: Any, properties: dict[str, Any]) -> Any:
    """UpdateService, with one new replica, which is asked whether it is ready."""
    if world().get("is_away"):
        note("served.log", "ECS is away")
        raise InvalidParameterException("ECS is away.")
    service = update_service(self, dict(properties))
    [deployment] = service.deployments
    deployment["rolloutState"] = "IN_PROGRESS"
    if world().get("is_stuck"):
        return service
    process = start_container(service.task_definition, {})
    assert process.stdout is not None
    deployment["rolloutState"] = "FAILED"
    for line in process.stdout:
        note("served.log", line.rstrip())
        if found := re.search(r"Answering on (http://\S+),", line):
            with urlopen(f"{found[1]}/readyz") as answer:
                note("served.log", answer.read().decode())
            deployment["rolloutState"] = "COMPLETED"
            process.terminate()
    process.wait()
    return service


def describe_replaced(self: Any, *arguments: Any, **settings: Any) -> Any:
    """DescribeServices; from what failed, the circuit breaker goes back by itself."""
    services, failures = describe_services(self, *arguments, **settings)
    for service in services:
        for deployment in service.deployments:
            if deployment["rolloutState"] == "FAILED":
                deployment |= {"id": "ecs-svc/back", "rolloutState": "COMPLETED"}
    return services, failures


def holds(condition: dict[str, dict[str, Any]]) -> bool:
    """Whether the conditions of a statement hold for a request; moto knows none."""
    given = {
        "s3:prefix": request.args.get("prefix"),
        "s3:if-none-match": request.headers.get("If-None-Match"),
        # There is no encryption on the loopback.
        "aws:SecureTransport": "true",
        "aws:SourceArn": None,
    }
    for operator, values in condition.items():
        for name, expected in values.items():
            value = given[name]
            patterns = [expected] if isinstance(expected, str) else expected
            if operator == "Null":
                fits = (value is None) == (expected == "true")
            else:
                assert operator in ("StringLike", "ArnLike", "Bool"), operator
                fits = any(fnmatchcase(value or "", each) for each in patterns)
            if not fits:
                return False
    return True


def is_permitted(self: Any, action: str, *others: Any, **settings: Any) -> Any:
    condition = self._statement.get("Condition")
    if condition and action.startswith("s3:") and not holds(condition):
        return PermissionResult.NEUTRAL
    return is_action_permitted(self, action, *others, **settings)


def authorize_roles(self: Any, kind: Any, resource: str = "*") -> None:
    """Hold roles to their policies on S3; who tests may do everything."""
    if kind.__name__ == "S3IAMRequest" and "X-Amz-Security-Token" in self.headers:
        authorize(self, kind, resource)


# What moto lacks or does otherwise than AWS, by where it is.
STAND_INS: list[tuple[Any, str, Any]] = [
    # Asked for by Terraform.
    (
        StepFunctionResponse,
        "validate_state_machine_definition",
        lambda _: json.dumps({"result": "OK", "diagnostics": []}),
    ),
    (
        StepFunctionResponse,
        "list_state_machine_versions",
        lambda _: json.dumps({"stateMachineVersions": []}),
    ),
    (IAMPolicyStatement, "is_action_permitted", is_permitted),
    (
        ActionAuthenticatorMixin,
        "_authenticate_and_authorize_action",
        authorize_roles,
    ),
    (StateTaskService, "_normalise_parameters", to_boto),
    (StateTaskService, "_normalise_response", from_boto),
    (StateTaskServiceEcs, "_build_sync_resolver", end_of_task),
    # Moto has a task that was begun again time out.
    (StateTaskServiceEcs, "_eval_wait_for_task_token", lambda *_, **__: None),
    # Nobody waits.
    (WaitFunction, "_wait_interval", lambda *_, **__: None),
    (retrier_decl, "time", SimpleNamespace(sleep=lambda _: None)),
    (Rule, "send_to_targets", start_run),
    # Moto knows no containers without sizes of their own.
    (
        EC2ContainerServiceBackend,
        "_calculate_task_resource_requirements",
        lambda *_: {},
    ),
    (EC2ContainerServiceBackend, "run_task", run_container),
    (EC2ContainerServiceBackend, "update_service", replace_replicas),
    (EC2ContainerServiceBackend, "describe_services", describe_replaced),
]


def main() -> None:
    """Serve until a signal ends the process."""
    for owner, name, stand_in in STAND_INS:
        setattr(owner, name, stand_in)
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(HOST, port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    # Where the interpreter finds the other services.
    os.environ["MOTO_PORT"] = str(port)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{HOST}:{port}",
        AWS_ACCESS_KEY_ID="tests",
        AWS_SECRET_ACCESS_KEY="tests",
        AWS_DEFAULT_REGION=REGION,
    )
    print(port, flush=True)
    Event().wait()


if __name__ == "__main__":
    main()
