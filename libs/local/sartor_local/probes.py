"""Readiness by real checks: an SQL query, a signed S3 request, Kafka metadata, gRPC health, HTTP /healthz.

The wire formats are spoken directly, so that the supervisor stays small and a check costs a millisecond. Each
probe returns when the server answers as it should and raises NotReady otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import shutil
import socket
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

HOST = "127.0.0.1"
SECONDS = 2.0
_ROOM_BYTES = 64 * 2**20

Probe = Callable[[], None]


class NotReady(Exception):
    """The server does not answer as a ready server would; the text says how."""


def sql(url: str) -> Probe:
    """Runs `SELECT 1`. `url` is a libpq URL."""

    def check() -> None:
        import psycopg

        try:
            with psycopg.connect(url, connect_timeout=int(SECONDS)) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise NotReady(str(error).strip()) from error

    return check


def http_ok(port: int, path: str = "/healthz", host: str = HOST) -> Probe:
    """GETs the path and wants a 200."""

    def check() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read(500).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise NotReady(f"GET {path} on port {port}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise NotReady(f"GET {path} on port {port}: {answer.status} {body}")

    return check


def s3_bucket(port: int, bucket: str, access_key: str, secret_key: str, host: str = HOST) -> Probe:
    """Creates the bucket if it is missing, then lists it, with signed requests (AWS Signature Version 4)."""

    path = f"/{bucket}"

    def ask(method: str, query: str) -> tuple[int, str]:
        return _ask_s3(method, f"{host}:{port}", path, query, (access_key, secret_key))

    def check() -> None:
        status, body = ask("GET", "max-keys=1")
        if status == 404:
            ask("PUT", "")
            status, body = ask("GET", "max-keys=1")
        if status != 200:
            raise NotReady(f"listing bucket {bucket}: {status} {body}")

    return check


def s3_writable(
    port: int, bucket: str, access_key: str, secret_key: str, folder: Path, host: str = HOST
) -> Probe:
    """Writes an empty object `health`. A store whose `folder` has no room left is not at fault."""

    def check() -> None:
        status, body = _ask_s3("PUT", f"{host}:{port}", f"/{bucket}/health", "", (access_key, secret_key))
        if status != 200 and shutil.disk_usage(folder).free > _ROOM_BYTES:
            raise NotReady(f"writing an object: {status} {body}")

    return check


def _ask_s3(method: str, host: str, path: str, query: str, keys: tuple[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, timeout=SECONDS)
    try:
        headers = _signed(method, host, path, query, *keys)
        connection.request(method, path + (f"?{query}" if query else ""), headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"{method} {path} at {host}: {error}") from error
    finally:
        connection.close()


def _signed(
    method: str, host: str, path: str, query: str, access_key: str, secret_key: str
) -> dict[str, str]:
    now = datetime.now(UTC)
    day, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    empty = hashlib.sha256(b"").hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n"
    canonical = f"{method}\n{path}\n{query}\n{headers}\n{names}\n{empty}"
    scope = f"{day}/us-east-1/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for part in (day, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return {
        "Host": host,
        "x-amz-content-sha256": empty,
        "x-amz-date": stamp,
        "Authorization": (
            f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        ),
    }


def kafka_metadata(port: int, host: str = HOST) -> Probe:
    """Sends a Metadata request (version 1, no topics) and wants at least one broker in the answer."""
    client = b"sartor-probe"
    body = struct.pack(">hhih", 3, 1, 1, len(client)) + client + struct.pack(">i", 0)

    def check() -> None:
        try:
            with socket.create_connection((host, port), SECONDS) as connection:
                connection.sendall(struct.pack(">i", len(body)) + body)
                (length,) = struct.unpack(">i", _exactly(connection, 4))
                answer = _exactly(connection, min(length, 65_536))
        except (OSError, EOFError, struct.error) as error:
            raise NotReady(f"Kafka metadata on port {port}: {error}") from error
        correlation, brokers = struct.unpack(">ii", answer[:8])
        if correlation != 1 or brokers < 1:
            raise NotReady(f"Kafka metadata on port {port}: no broker yet")

    return check


def grpc_serving(port: int, host: str = HOST) -> Probe:
    """Calls grpc.health.v1.Health/Check over plaintext HTTP/2 and wants SERVING.

    The request's header block uses only literal fields without indexing (RFC 7541, 6.2.2), and of the answer
    only the DATA frame of stream 1 is read, so no HPACK decoder is needed.
    """
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/grpc.health.v1.Health/Check"),
            (b":authority", host.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
    request = _frame(1, 4, 1, block) + _frame(0, 1, 1, b"\x00" * 5)

    def check() -> None:
        try:
            with socket.create_connection((host, port), SECONDS) as connection:
                connection.sendall(opening + request)
                data = _data_of_stream_1(connection)
        except (OSError, EOFError, struct.error) as error:
            raise NotReady(f"gRPC health on port {port}: {error}") from error
        if data[5:] != b"\x08\x01":
            raise NotReady(f"gRPC health on port {port}: not serving yet")

    return check


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _data_of_stream_1(connection: socket.socket) -> bytes:
    for _ in range(50):
        head = _exactly(connection, 9)
        payload = _exactly(connection, int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == 4 and not flags & 1:
            connection.sendall(_frame(4, 1, 0, b""))
        elif kind == 0 and stream == 1 and payload:
            return payload
        elif kind in (3, 7) or (kind == 1 and stream == 1 and flags & 1):
            raise EOFError("the call was refused")
    raise EOFError("no answer")


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError("connection closed")
        data += piece
    return data
