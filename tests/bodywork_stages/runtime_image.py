"""What deploy/Dockerfile installs, made on this machine without Docker.

Its steps are read out of the Dockerfile and run as they are, but below a directory of
their own. Left out is what the base image and its package archive give: this machine's
Python, git and tini stand in for them.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.image import DOCKERFILE, ROOT

# Compiling all bytecode takes half a minute; each module is compiled when imported.
FASTER = {"UV_COMPILE_BYTECODE": "0"}


class RuntimeImage:
    """The file system of the image, below a directory.

    Attributes:
        path: The image's PATH, in front of what it needs of this machine.
    """

    def __init__(self, root: Path, tini: Path) -> None:
        """Take the steps of the Dockerfile.

        Args:
            root: An empty directory.
            tini: The program.

        Raises:
            RuntimeError: A step failed.
        """
        self.root = root
        self.directory = root
        self.variables: dict[str, str] = {}
        # Pip installs into a copy; uv passes copies over and takes Python itself.
        python = Path(sys.base_prefix, "bin")
        self.path = f"{root}/usr/bin:{python}:{tini.parent}:{os.environ['PATH']}"
        self._run(f"{python}/python3 -m venv {root}/usr")
        stages = iter(read_instructions((ROOT / DOCKERFILE).read_text()))
        next(stages)
        for instruction, argument in stages:
            if instruction == "FROM":
                break
            self._take(instruction, argument)
        for instruction, argument in stages:
            if instruction == "ENV":
                self._take(instruction, argument)

    def _take(self, instruction: str, argument: str) -> None:
        argument = self._below_root(argument)
        match instruction:
            case "WORKDIR":
                self.directory = Path(argument)
                self.directory.mkdir()
            case "COPY":
                *sources, target = argument.split()
                for source in sources:
                    content = (ROOT / source).read_text()
                    destination = self.directory / target / Path(source).name
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    destination.write_text(self._below_root(content))
                    destination.chmod((ROOT / source).stat().st_mode)
            case "ENV":
                for name, _, value in map(lambda x: x.partition("="), argument.split()):
                    if name == "PATH":
                        self.path = value.replace("$PATH", self.path)
                    else:
                        self.variables[name] = value
            case "RUN":
                self._run(argument)
            case _:
                raise RuntimeError(f"{DOCKERFILE} has an unknown step: {instruction}.")

    def _below_root(self, text: str) -> str:
        return re.sub(r"(?<![\w./])/(?=(?:build|opt)\b)", f"{self.root}/", text)

    def _run(self, command: str) -> None:
        """Run a command in the shell."""
        process = subprocess.run(
            ["sh", "-c", command],
            cwd=self.directory,
            env={**os.environ, **self.variables, **FASTER, "PATH": self.path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.returncode:
            raise RuntimeError(f"{shlex.join(['sh', '-c', command])}: {process.stdout}")


def read_instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Read each instruction of a Dockerfile with its argument, in one line."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line:
            instruction, _, argument = line.partition(" ")
            yield instruction, argument.strip()
