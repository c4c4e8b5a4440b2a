"""What Redis does not do is told in one sentence, without a password, and changes
nothing."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from pipeline import publication
from pipeline.publication import connection
from sandbox.ports import closed_port
from sandbox.redis_server import run_redis_server
from tests.programs import run_here
from tests.publication.models import add_model, publish_model

pytestmark = [pytest.mark.once, pytest.mark.process]

SECRET = "s3cr3t"
PUBLISHER = (
    "~time-to-dispatch:*",
    *"+time +info +multi +exec +watch +unwatch +exists +get +set +del +unlink".split(),
    *"+rpush +hset +expire +pexpireat +persist +scan +ttl".split(),
)
SERVICE = ("~time-to-dispatch:*", *"+getrange +type +hstrlen +hmget".split())


@pytest.fixture(autouse=True)
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RETRIES", 1)


def ends_with(program: str, *arguments: str, **environment: str) -> str:
    """Run a program that fails; returns its ERROR, the last line of its log."""
    process = run_here(program, *arguments, **environment)
    assert process.returncode == 1
    log = process.stdout + process.stderr
    assert SECRET not in log and "Traceback" not in log
    [error] = re.findall("- ERROR - .*? - (.*)", log)
    assert log.endswith(f"{error}\n")
    return str(error)


def set_user(redis: Redis, *rules: str) -> None:
    keys, *commands = rules
    redis.acl_setuser(
        "someone",
        reset=True,
        enabled=True,
        passwords=[f"+{SECRET}"],
        keys=[keys.removeprefix("~")],
        commands=commands,
    )


def ask_for_password(redis: Redis) -> str:
    redis.config_set("requirepass", "another")
    return "redis://:{secret}@{place}"


def be_full(redis: Redis) -> str:
    redis.config_set("maxmemory", "1")
    return "redis://{place}"


def be_full_soon(redis: Redis) -> str:
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 3_000_000)
    return "redis://{place}"


def be_a_replica(redis: Redis) -> str:
    redis.replicaof("127.0.0.1", "1")
    return "redis://{place}"


def permit_little(redis: Redis) -> str:
    set_user(redis, *PUBLISHER, "-persist")
    return "redis://someone:{secret}@{place}"


@pytest.mark.parametrize(
    "harm, told",
    [
        (ask_for_password, "does not take these credentials; check the user and the "),
        (be_full, "has no memory left for it; raise its maxmemory, or let another "),
        (be_full_soon, "has no memory left for it; raise its maxmemory, or let "),
        (be_a_replica, "is a replica, which cannot be written to; give the primary's "),
        (permit_little, "does not permit it ("),
    ],
)
def test_what_redis_does_not_take_leaves_what_was_there(
    redis: Redis,
    redis_server: str,
    bucket: str,
    harm: Callable[[Redis], str],
    told: str,
) -> None:
    publish_model(bucket, 1)
    before = {key: redis.dump(key) for key in redis.keys()}
    add_model(bucket, 2, {f"P{number}": 5_000.0 for number in range(100)})
    place = redis_server.removeprefix("redis://")
    address = harm(redis).format(secret=SECRET, place=place)
    error = ends_with("pipeline.batch", bucket, "publish", REDIS_URL=address)
    assert error.startswith(
        f"Error encountered when publishing estimates - Redis {redis_server} {told}"
    )
    redis.config_set("maxmemory", "0")
    kept = [key for key in redis.keys() if redis.ttl(key) < 0]
    assert {key: redis.dump(key) for key in kept} == before
    if harm in (be_full, be_full_soon):
        # It has its memory back at once.
        assert {*redis.keys()} == before.keys()


def test_nobody_there_is_told_by_both(bucket: str) -> None:
    add_model(bucket, 1)
    with closed_port() as port:
        address = f"redis://:{SECRET}@127.0.0.1:{port}/0"
        for error in (
            ends_with("pipeline.batch", bucket, "publish", REDIS_URL=address),
            ends_with("pipeline.serve_model", address),
        ):
            assert f"Redis redis://127.0.0.1:{port}/0 could not be reached: " in error
            assert error.endswith("and that Redis is up, and try again.")


@pytest.mark.parametrize(
    "address",
    [
        f"http://:{SECRET}@localhost/0",
        f"redis//:{SECRET}@localhost/0",
        f"redis://:{SECRET}/x@localhost/0",
        f"redis://:{SECRET}@localhost:port/0",
        f"redis://:{SECRET}@localhost:0/0",
        f"redis://:{SECRET}@localhost:66000/0",
        f"redis://:{SECRET}@localhost/first",
        f"redis://:{SECRET}@localhost/0/1",
        f"redis://:{SECRET}@localhost/0?decode_responses=1",
        f"redis://:{SECRET}@localhost/0?db=first",
        f"redis://:{SECRET}@localhost/0?db",
        f"redis://:{SECRET}@localhost/0#1",
        f"redis://:{SECRET}@[localhost/0",
        f"redis://:{SECRET}@/0",
        f"unix://:{SECRET}@",
        f"unix://:{SECRET}@host/path",
    ],
)
def test_what_is_no_address_is_not_repeated(bucket: str, address: str) -> None:
    told = "What stands for the address of a Redis is none; write it as redis://HOST:"
    error = ends_with("pipeline.batch", bucket, "publish", REDIS_URL=address)
    assert told in error
    if publication.is_address(address):
        assert told in ends_with("pipeline.serve_model", address)


def test_no_address_at_all_is_told(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    error = ends_with("pipeline.batch", bucket, "publish")
    assert "- REDIS_URL is not set; set it to the address of a Redis, such as" in error


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e9", "a day"])
def test_hours_that_are_none_are_refused(bucket: str, hours: str) -> None:
    expire = f"--expire={hours}"
    process = run_here("pipeline.batch", bucket, "publish", expire)
    assert process.returncode == 1
    assert f"--expire: '{hours}' is no number of hours above 0 and" in process.stdout


@pytest.mark.parametrize("hours", ["0.000001", "10000"])
def test_any_other_number_of_hours_is_taken(
    redis: Redis, bucket: str, hours: str
) -> None:
    add_model(bucket, 1)
    process = run_here("pipeline.batch", bucket, "publish", "--expire", hours)
    assert process.returncode == 0, process.stdout


def test_users_need_to_be_permitted_no_more_than_the_page_says(
    redis: Redis, redis_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "any-size.md").read_text()
    for rules in (PUBLISHER, SERVICE):
        assert " ".join(rules) in " ".join(page.split())
    add_model(bucket, 1)
    set_user(redis, *PUBLISHER)
    address = redis_server.replace("//", "//someone@")
    monkeypatch.setenv("REDIS_PASSWORD", SECRET)
    process = run_here("pipeline.batch", bucket, "publish", REDIS_URL=address)
    assert process.returncode == 0, process.stdout
    assert "WARNING" not in process.stdout
    set_user(redis, *SERVICE)
    model, _ = publication.Follower(address, check=str).read_first()
    assert model.name == "time-to-dispatch"


def test_a_redis_is_asked_over_tls_and_over_a_socket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path)
    options = ["--tls-auth-clients", "no", "--tls-port", "0"]
    for name in ("cert", "key", "ca-cert"):
        file = tmp_path / f"{name.removeprefix('ca-')}.pem"
        options += [f"--tls-{name}-file", str(file)]
    socket = tmp_path / "socket"
    with run_redis_server(*options, "--unixsocket", str(socket)) as address:
        monkeypatch.setenv("REDIS_URL", f"unix://{socket}")
        model = publish_model(bucket, 1)
        with Redis.from_url(address) as redis:
            redis.config_set("port", 0)
        port = re.findall(r":(\d+)/", address)[0]
        with Redis.from_url(f"unix://{socket}") as redis:
            redis.config_set("tls-port", port)
        trusted = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/cert.pem"
        assert publication.Follower(trusted, check=str).read_first()[0] == model
        for untrusted in (
            f"rediss://127.0.0.1:{port}/0",
            trusted.replace("127.0.0.1", "localhost"),
        ):
            error = ends_with("pipeline.serve_model", untrusted)
            assert "certificate verify failed" in error
        missing = trusted.replace("cert.pem", "none.pem")
        assert "No such file" in ends_with("pipeline.serve_model", missing)


def make_certificate(directory: Path) -> None:
    """Make a certificate for 127.0.0.1 that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    address = x509.IPAddress(ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
