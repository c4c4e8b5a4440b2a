"""A double of the Kubernetes API server, which cannot run here: it replays answers.

Those in recorded/ are a real API server's, with a release on it; each test changes what
it is about. The certificate is signed by an authority without a key identifier, as
those of EKS are.
"""

import json
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.kubernetes_api import ApiError

RECORDED = Path(__file__).with_name("recorded")
TOKEN = "recorded"
HOST = "127.0.0.1"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


class ApiServer:
    """What the double answers, and what it was asked.

    Attributes:
        objects: The object at each path; a function makes it anew for each request.
        before: What happens before the next request of a method and path is answered,
            which fixes the order of events. What it returns does not matter.
        made: What becomes of an object that is made, as controllers see to.
        changes: Each request that changes something: method, path, body.
        posted: What was posted to a service behind it.
        now: Its clock.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.before: dict[tuple[str, str], list[Callable[[], object]]] = {}
        self.made: Callable[[Any], None] = lambda made: None
        self.changes: list[tuple[str, str, Any]] = []
        self.posted: list[Any] = []
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.lock = Lock()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Answer a request; one at a time, as the store behind an API server does."""
        if events := self.before.get((method, path)):
            events.pop(0)()
        with self.lock:
            return self.answer_at_once(method, path, body)

    def answer_at_once(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method in ("PATCH", "PUT", "DELETE"):
            self.changes.append((method, path, body))
        if method == "POST" and "metadata" in (body or {}):
            return self.create(path, body)
        if method == "POST":
            self.posted.append(body)
        found = self.objects.get(path)
        if callable(found):
            found = found()
        if found is None:
            return 404, {"message": f'"{path.rpartition("/")[2]}" not found'}
        if isinstance(found, ApiError):
            return found.status, {"message": str(found)}
        if method == "PUT":
            return self.replace(path, found, body)
        if method == "PATCH" and isinstance(body, list):
            # Of JSON patches, these alone are sent.
            [change] = body
            assert (change["op"], change["path"]) == ("replace", "/spec/template")
            found["spec"]["template"] = change["value"]
        if method == "DELETE":
            folder, _, name = path.rpartition("/")
            items = self.objects[folder]["items"]
            items[:] = [item for item in items if item["metadata"]["name"] != name]
            del self.objects[path]
        return 200, found

    def create(self, folder: str, body: Any) -> tuple[int, Any]:
        path = f"{folder}/{body['metadata']['name']}"
        if path in self.objects:
            return 409, {"message": f"{path} is there"}
        now = f"{self.now():%FT%TZ}"
        body["metadata"] |= {"resourceVersion": "1", "creationTimestamp": now}
        self.objects[path] = body
        self.objects.setdefault(folder, {"items": []})["items"].append(body)
        self.made(body)
        return 201, body

    def replace(self, path: str, found: Any, body: Any) -> tuple[int, Any]:
        version = found["metadata"].get("resourceVersion", "0")
        if body["metadata"].get("resourceVersion", version) != version:
            return 409, {"message": f"{path} has been changed"}
        made = {"creationTimestamp": found["metadata"].get("creationTimestamp")}
        body["metadata"] |= {"resourceVersion": str(int(version) + 1), **made}
        self.objects[path] = body
        return 200, body


def select(found: Any, selector: str) -> Any:
    """Of a list, the objects with a label."""
    name, _, value = selector.partition("=")
    return {
        "items": [
            each
            for each in found["items"]
            if each["metadata"].get("labels", {}).get(name) == value
        ]
    }


@contextmanager
def run_api_server(directory: Path) -> Iterator[tuple[ApiServer, Path]]:
    """Run it for the time of a with block; yields it and the path of its kubeconfig."""
    server = ApiServer()
    authority, certificate = make_certificates(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length) or b"null")
            path = unquote(urlsplit(self.path).path)
            if self.headers["Authorization"] == f"Bearer {TOKEN}":
                status, answer = server.answer(self.command, path, body)
                query = dict(parse_qsl(urlsplit(self.path).query))
                if status == 200 and "labelSelector" in query:
                    answer = select(answer, query["labelSelector"])
            else:
                status, answer = 401, {"message": "Unauthorized"}
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response_only(status)
            self.send_header("Date", format_datetime(server.now(), usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = reply

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    listener = ThreadingHTTPServer((HOST, 0), Handler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    # Asked often whether it is to end, for each test waits for that.
    Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    kubeconfig = directory / "kubeconfig"
    address = f"https://{HOST}:{listener.server_port}"
    kubeconfig.write_text(yaml.safe_dump(make_kubeconfig(address, authority)))
    try:
        yield server, kubeconfig
    finally:
        listener.shutdown()
        listener.server_close()


def make_kubeconfig(address: str, authority: bytes) -> dict[str, Any]:
    data = b64encode(authority).decode()
    cluster = {"server": address, "certificate-authority-data": data}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "double", "cluster": cluster}],
        "users": [{"name": "double", "user": {"token": TOKEN}}],
        "contexts": [{"name": "d", "context": {"cluster": "double", "user": "double"}}],
        "current-context": "d",
    }


def make_certificates(directory: Path) -> tuple[bytes, Path]:
    """Make an authority, and a certificate with its key in one file."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    public_key = authority_key.public_key()
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    root = certify(authority, public_key, authority, authority_key, is_authority)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(HOST))])
    leaf = certify(name, key.public_key(), authority, authority_key, addresses)
    path = directory / "certificate.pem"
    path.write_bytes(
        leaf
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return root, path


def certify(
    name: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
