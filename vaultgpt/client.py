"""A blocking client of a vault's running daemon, found by its runtime.json.

Knows nothing about what runs behind the API. Used by the command line.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from vaultgpt import errors
from vaultgpt.errors import StateError, Unavailable, VaultGPTError
from vaultgpt.files import read_json
from vaultgpt.state import VaultState

_BY_STATUS: dict[int, type[VaultGPTError]] = {
    400: errors.VaultGPTError,
    403: errors.VaultGPTError,
    404: errors.NotFound,
    409: errors.Conflict,
    429: errors.Unavailable,
    503: errors.Unavailable,
}


@dataclass(frozen=True)
class DaemonClient:
    """Calls to the daemon of one vault. Every call raises VaultGPTError with the API's message."""

    port: int
    token: str
    pid: int
    timeout_s: float = 600.0

    def get(self, path: str) -> Any:
        """The JSON answer of a GET."""
        return self._json("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON answer of a POST."""
        return self._json("POST", path, body)

    def _json(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        connection, response = self._open(method, path, body)
        try:
            return json.loads(response.read() or b"{}")
        finally:
            connection.close()

    def stream(self, path: str, body: dict[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
        """Server-sent events as (event name, JSON data); ends at [DONE] or when the server ends.

        Connected when this returns, so that no event after it is missed.
        """
        connection, response = self._open("POST" if body is not None else "GET", path, body)
        return _events(connection, response)

    def _open(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        headers = {"Authorization": f"Bearer {self.token}"}
        data = None
        if body is not None:
            data = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(
                f"The daemon does not answer ({type(error).__name__}).",
                "Start it again: `vaultgpt serve`.",
            ) from None
        if response.status >= 400:
            try:
                raise _error(response.status, response.read())
            finally:
                connection.close()
        return connection, response


def _events(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Iterator[tuple[str, Any]]:
    try:
        event = "message"
        for raw in response:
            line = raw.decode("utf-8").rstrip("\r\n")
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:"):
                data = line[5:].strip()
                if data == "[DONE]":
                    return
                yield event, json.loads(data)
            elif not line:
                event = "message"
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"The daemon broke off ({type(error).__name__}).", "Ask again.") from None
    finally:
        connection.close()


def _error(status: int, body: bytes) -> VaultGPTError:
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"The daemon answered with status {status}."
    return _BY_STATUS.get(status, VaultGPTError)(message)


def find_daemon(state: VaultState) -> DaemonClient | None:
    """The client of the daemon that runs for this vault; None when none does."""
    try:
        runtime = read_json(state.runtime)
        pid, port, token = int(runtime["pid"]), int(runtime["port"]), str(runtime["token"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise StateError(f"{state.runtime} is damaged.", "Delete it and restart `serve`.") from None
    if not psutil.pid_exists(pid):
        return None
    client = DaemonClient(port, token, pid)
    try:
        client.get("/v1/status")
    except VaultGPTError:
        return None
    return client
