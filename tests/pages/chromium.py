"""A headless Chromium, driven over a pipe by its own DevTools protocol."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Any

# For what takes a tenth of a second where nothing else runs.
TIMEOUT_SECONDS = 60
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# As root, in a container, it has no sandbox of its own; it opens our files alone.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    found = (shutil.which(program) for program in PROGRAMS)
    return next(filter(None, found), None)


class Tab:
    """A page of the browser, and what happened in it.

    Attributes:
        complaints: What the browser said of the page: errors and warnings.
        requests: The addresses that were asked for.
    """

    def __init__(self, commands: int, answers: int) -> None:
        """Open a tab.

        Args:
            commands, answers: File descriptors of the browser's pipe.
        """
        self.commands, self.answers = commands, answers
        self.rest = b""
        self.number = 0
        self.session = ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.events: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command, and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def read(self) -> dict[str, Any]:
        """Read the next message, and remember what it says has happened."""
        while b"\0" not in self.rest:
            assert select([self.answers], [], [], TIMEOUT_SECONDS)[0], "no answer"
            read = os.read(self.answers, 65536)
            assert read, "the browser has ended"
            self.rest += read
        first, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        method, parameters = message.get("method", ""), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown" or method == "Log.entryAdded":
            self.complaints.append(json.dumps(parameters))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(parameters))
        self.events.append(method)
        return message

    def open(
        self, path: Path, width: int, *, scheme: str = "light", media: str = ""
    ) -> None:
        """Load a file, and wait until it is there.

        Args:
            width: Of the window, pixels.
            scheme: light or dark.
            media: print for how it is printed.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.complaints, self.requests, self.events = [], [], []
        self.call("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self.events:
            self.read()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, in plain types."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def print(self) -> bytes:
        """The page as PDF."""
        return b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


@contextmanager
def open_chromium(program: str) -> Iterator[Tab]:
    """Run a browser for the time of a with block."""
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol's are 3 and 4; ours can have two digits, which sh cannot read.
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        arguments = [*ARGUMENTS, f"--user-data-dir={profile}"]
        browser = subprocess.Popen(
            ["bash", "-c", shell, "", program, *arguments],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Tab(commands, answers)
        finally:
            # It ends when its pipe does; should it not, it is ended.
            os.close(commands)
            os.close(answers)
            with suppress(subprocess.TimeoutExpired):
                browser.wait(10)
            browser.kill()
            browser.wait()
