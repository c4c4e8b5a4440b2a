"""Who releases, and the weekly run, ask for nothing that deploy/cluster forbids them.

What Bodywork asks for is not among it: a cluster alone shows that.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from deploy.kubernetes_api import Cluster
from tests.deploy.test_cluster import of_kind
from tests.deploy.world import World

pytestmark = [pytest.mark.once, pytest.mark.process]

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def rules_for(subject_kind: str) -> dict[str, list[dict[str, Any]]]:
    """The rules for a kind of subject, by namespace."""
    roles = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each["rules"]
        for each in of_kind("Role")
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for binding in of_kind("RoleBinding"):
        if subject_kind in [each["kind"] for each in binding["subjects"]]:
            namespace = binding["metadata"]["namespace"]
            role = roles[namespace, binding["roleRef"]["name"]]
            found.setdefault(namespace, []).extend(role)
    return found


def is_allowed(
    rules: dict[str, list[dict[str, Any]]], method: str, path: str
) -> bool:
    """Whether rules allow a request of an object, or of a list of them."""
    before, _, rest = path.partition("/namespaces/")
    group = before.split("/")[2] if before.startswith("/apis/") else ""
    namespace, resource, *named = rest.split("/")
    name, subresource = (*named, "", "")[:2]
    verb = VERBS.get(method, "get" if name else "list")
    if subresource:
        resource = f"{resource}/{subresource}"
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and verb in rule["verbs"]
        and name in rule.get("resourceNames", [name])
        for rule in rules.get(namespace, [])
    )


@pytest.mark.parametrize(
    "subject_kind, run, fails",
    [
        ("Group", World.release, False),
        ("Group", World.release, True),
        ("Group", World.check, False),
        ("ServiceAccount", World.run_weekly, True),
    ],
)
def test_what_is_asked_for_is_allowed(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    subject_kind: str,
    run: Callable[[World], str],
    fails: bool,
) -> None:
    asked = set()
    send = Cluster._send

    def note_and_send(self: Cluster, method: str, path: str, *others: Any) -> Any:
        asked.add((method, path.partition("?")[0]))
        return send(self, method, path, *others)

    monkeypatch.setattr(Cluster, "_send", note_and_send)
    world.let_pods_run("the last words", "others")
    world.model_age = timedelta(days=7 * fails)
    assert bool(run(world)) == fails
    rules = rules_for(subject_kind)
    # Anybody may ask for the version.
    asked.discard(("GET", "/version"))
    assert asked
    assert [each for each in sorted(asked) if not is_allowed(rules, *each)] == []
