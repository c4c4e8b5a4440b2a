"""A Redis on this machine, as a process of its own, which forgets everything."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from redis import Redis
from redis.exceptions import ConnectionError

from sandbox.debian_packages import find_program
from sandbox.ports import HOST, free_port
from sandbox.processes import run_process

START_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.01


@contextmanager
def run_redis_server(*options: str, port: int = 0) -> Iterator[str]:
    """Run a Redis on a port of the loopback for the time of a with block.

    It ends with the block and, at the latest, with the process that started it.

    Args:
        options: Of redis-server.
        port: Any free one by default.

    Yields:
        Its address, such as redis://127.0.0.1:6379/0, once it answers.

    Raises:
        RuntimeError: There is no redis-server, or it did not start.
    """
    program = find_program("redis-server", "redis-server")
    port = port or free_port()
    address = f"redis://{HOST}:{port}/0"
    with (
        TemporaryDirectory() as directory,
        run_process(
            *("env", *(f"{name}={each}" for name, each in program.environment.items())),
            *(str(program.path), "--bind", HOST, "--port", str(port)),
            *("--save", "", "--appendonly", "no", "--dir", directory, *options),
            stdout=subprocess.DEVNULL,
        ) as process,
        Redis.from_url(address) as redis,
    ):
        deadline = monotonic() + START_TIMEOUT_SECONDS
        while not answers(redis):
            if process.poll() is not None or monotonic() > deadline:
                raise RuntimeError(f"The local Redis did not start on port {port}.")
            sleep(POLL_SECONDS)
        yield address


def answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except ConnectionError:
        return False
