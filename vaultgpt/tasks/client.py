"""A blocking client of a vault's running daemon, which `vault_service` finds.

Whoever listens on that port proves that it holds the token before it is told the token or a word.
Knows nothing about what runs behind the API.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from vaultgpt import errors
from vaultgpt.errors import Unavailable, VaultGPTError

_CONTEXT = b"vaultgpt health 1\n"
_PROOF_S = 5.0  # who has not answered by then is not our daemon
_BY_STATUS: dict[int, type[VaultGPTError]] = {
    400: errors.VaultGPTError,
    403: errors.VaultGPTError,
    404: errors.NotFound,
    409: errors.Conflict,
    429: errors.Unavailable,
    503: errors.Unavailable,
}
_Connection = http.client.HTTPConnection
_GONE = (ConnectionError, http.client.RemoteDisconnected)


def proof_of(token: str, place: int | str, challenge: bytes) -> str:
    """What a holder of the token answers to a challenge, in hex.

    `place` is the port asked, or the name of the phone's proxy: whoever listens elsewhere can't
    pass the question on to the daemon."""
    message = _CONTEXT + str(place).encode() + b"\n" + challenge
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


class DaemonClient:
    """Calls to the daemon of one vault. Every call raises VaultGPTError with the API's message."""

    def __init__(self, port: int, token: str, pid: int, timeout_s: float = 600.0) -> None:
        self.port, self.token, self.pid, self.timeout_s = port, token, pid, timeout_s
        self._proven: deque[_Connection] = deque(maxlen=1)  # idle, its other end is our daemon

    def get(self, path: str) -> Any:
        """The JSON answer of a GET."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """The JSON answer of a POST."""
        return self._json("POST", path, body)

    def stream(
        self, path: str, body: Mapping[str, object] | None = None
    ) -> Iterator[tuple[str, Any]]:
        """Server-sent events as (event name, JSON data); ends at [DONE] or when the server ends.

        Connected when this returns, so that no event after it is missed."""
        connection, response = self._send("POST" if body is not None else "GET", path, body)
        return _events(connection, response)

    def is_ours(self) -> bool:
        """Whether the daemon of this token listens; the connection is kept for the next call."""
        try:
            self._proven.append(self._prove())
        except Unavailable:
            return False
        return True

    def _json(self, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        connection, response = self._send(method, path, body)
        try:
            value = json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _away(error) from None
        if response.will_close:
            connection.close()
        else:
            self._proven.append(connection)
        return value

    def _send(
        self, method: str, path: str, body: Mapping[str, object] | None
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        """Ask over a proven connection; one that the daemon closed meanwhile is replaced."""
        try:
            connection: _Connection | None = self._proven.pop()
        except IndexError:
            connection = None
        if connection is not None:
            try:
                return self._ask(connection, method, path, body)
            except _GONE:
                pass
        connection = self._prove()
        try:
            return self._ask(connection, method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise _away(error) from None

    def _ask(
        self, connection: _Connection, method: str, path: str, body: Mapping[str, object] | None
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        headers = {"Authorization": f"Bearer {self.token}"}
        data = None
        if body is not None:
            data = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        if response.status >= 400:
            try:
                raise _error(response.status, response.read())
            finally:
                connection.close()
        return connection, response

    def _prove(self) -> _Connection:
        """A connection whose other end has shown that it holds the token. Unavailable."""
        challenge = secrets.token_bytes(32)
        connection = _Connection("127.0.0.1", self.port, timeout=_PROOF_S)
        try:
            connection.request("GET", f"/health?challenge={challenge.hex()}")
            answer = json.loads(connection.getresponse().read(65536))
            given = str(answer["proof"])
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            connection.close()
            raise _away(error) from None
        wanted = proof_of(self.token, self.port, challenge)
        if not hmac.compare_digest(given.encode(), wanted.encode()) or connection.sock is None:
            connection.close()
            raise Unavailable("Another program listens on the daemon's port.")
        connection.auto_open = 0  # never on to whoever listens there later
        connection.sock.settimeout(self.timeout_s)
        return connection


def _events(
    connection: _Connection, response: http.client.HTTPResponse
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


def _away(error: Exception) -> Unavailable:
    return Unavailable(
        f"The daemon does not answer ({type(error).__name__}).",
        "Start it again: `vaultgpt serve`.",
    )


def _error(status: int, body: bytes) -> VaultGPTError:
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"The daemon answered with status {status}."
    return _BY_STATUS.get(status, VaultGPTError)(message)
