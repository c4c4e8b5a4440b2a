"""A Redis that is empty, has its first settings and takes what is published."""

from collections.abc import Iterator

import pytest
from redis import Redis

SETTINGS = {
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "requirepass": "",
}


@pytest.fixture
def redis(redis_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["Redis"]:
    monkeypatch.setenv("REDIS_URL", redis_server)
    with Redis.from_url(redis_server) as client:
        client.flushall()
        yield client
        for name, value in SETTINGS.items():
            client.config_set(name, value)
        client.replicaof("NO", "ONE")
