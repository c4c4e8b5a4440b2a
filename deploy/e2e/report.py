"""What the run says while it goes on, and in the end."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from deploy.e2e.load import SHOWN_FAILURES, Load


@dataclass
class Step:
    """A step of the run.

    Attributes:
        outcome: In a few words; empty while it goes on.
        load: What the service was asked meanwhile, if it was.
    """

    title: str
    outcome: str = ""
    seconds: float = 0.0
    load: Load | None = None


@dataclass
class Report:
    """The steps so far.

    Attributes:
        tags: The tag of each commit, to name models by.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Say that a step begins, and how it ended."""
        step = Step(title)
        self.steps.append(step)
        say(f"{title} ...")
        started = time.monotonic()
        try:
            yield step
        except Exception:
            step.outcome = "FAILED"
            raise
        except KeyboardInterrupt:
            step.outcome = "interrupted"
            raise
        finally:
            step.seconds = time.monotonic() - started
            say(f"    {step.outcome} ({step.seconds:.0f} s)")
            if step.load is not None:
                self.say_load(step.load)

    def say_load(self, load: Load) -> None:
        say(f"    {load.requests} requests, {len(load.failures)} failed")
        for failure in load.failures[:SHOWN_FAILURES]:
            say(f"      {failure}")
        for version, answers in load.models.items():
            say(f"    {answers} answers by the model of {self.name(version)}")

    def name(self, version: str) -> str:
        """Name a model, by the release that made it and when."""
        known = dict(pair.split(":", 1) for pair in version.split("|"))
        commit = known["pipeline_git_commit_hash"]
        made = known["model_timestamp"].partition("T")[2].partition(".")[0]
        tags = [tag for full, tag in self.tags.items() if full.startswith(commit)]
        return f"{tags[0] if tags else commit} {made}"

    @property
    def failures(self) -> int:
        return sum(len(step.load.failures) for step in self.steps if step.load)

    def table(self) -> str:
        """All steps, with a line for each."""
        rows = [("step", "seconds", "requests", "failures", "models that answered")]
        for step in self.steps:
            load = step.load
            counts = (str(load.requests), str(len(load.failures))) if load else ("", "")
            models = ", ".join(map(self.name, load.models)) if load else ""
            rows.append((step.title, f"{step.seconds:.0f}", *counts, models))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
        )


def say(line: str) -> None:
    print(line, flush=True)
