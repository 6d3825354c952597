"""A completions server in OpenAI's shape, over HTTP: what it lists, its voices, a streamed answer.

llama.cpp's llama-server, vLLM, Ollama and the like. Follows no redirect and no proxy. Knows nothing
about prompts or voices; an error never repeats what was sent.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, cast
from urllib.parse import urlsplit

from vaultgpt.errors import Unavailable
from vaultgpt.files import Json

Fields = dict[str, object]  # of a request's body


class _Meta(TypedDict, total=False):
    n_ctx: int


class _Served(TypedDict, total=False):
    """A model that a server lists: OpenAI's name, and what vLLM and llama-server add."""

    id: str
    root: str | None
    parent: str | None
    max_model_len: int | None
    meta: _Meta | None


_CONNECT_S = 3.0
_ASK_S = 60.0  # for a short answer; loading an adapter too
_SILENT_S = 300.0  # longest time to the first token of a long prompt, or between two
_LOOK_S = 0.05  # how often a waiting reader looks whether it is still wanted


class EngineAway(Unavailable):
    """The server is not there, broke off, or answers what is no answer."""

    code = "engine_away"


class EngineRefused(EngineAway):
    """The server is there and will not do it: a status of 400 and more."""

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"The engine answers {path} with status {status}.")
        self.status = status


@dataclass(frozen=True)
class Chunk:
    """A part of a streamed answer. `nats` is its text's log probability, None where untold."""

    text: str
    nats: float | None = None
    finish: str | None = None
    cached: int = 0  # tokens of the prompt that the server had read before


class OpenAIClient:
    """One server. A method raises EngineAway, or EngineRefused."""

    def __init__(self, address: str, key: str = "") -> None:
        """`address` with or without /v1 at its end."""
        self._url = urlsplit(address.rstrip("/").removesuffix("/v1"))
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str) -> Any:
        """The answer's JSON."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Fields) -> Any:
        """The answer's JSON, or its text where it is none."""
        return self._ask("POST", path, body)

    def models(self) -> list[_Served]:
        """What it lists; the first is mostly the base."""
        found = self.get("/v1/models")
        rows = found.get("data") if isinstance(found, dict) else None
        listed = [row for row in rows or () if isinstance(row, dict) and "id" in row]
        return cast(list[_Served], listed)

    @contextlib.contextmanager
    def stream(self, body: Fields) -> Iterator[Iterator[Chunk | None]]:
        """The chunks of a completion as they come; None where there was none for a moment.

        Leaving the block closes the connection, which ends the server's work."""
        connection, chunks = self._connect(_SILENT_S), queue.Queue[Chunk | EngineAway | None]()
        sock = connection.sock  # which an answer that ends with its connection takes over
        asked = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}})
        pump = threading.Thread(
            target=self._pump, args=(connection, asked, chunks), name="engine", daemon=True
        )
        pump.start()
        try:
            yield _waiting(chunks)
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            pump.join(_CONNECT_S)
            connection.close()

    def _pump(
        self,
        connection: http.client.HTTPConnection,
        asked: str,
        chunks: queue.Queue[Chunk | EngineAway | None],
    ) -> None:
        """The reader thread: every chunk, then None, or what went wrong."""
        try:
            response = self._send(connection, "POST", "/v1/completions", asked)
            ended = False
            for line in response:
                if not line.startswith(b"data:"):
                    continue
                if (data := line[5:].strip()) == b"[DONE]":
                    break
                chunk = _chunk(json.loads(data))
                ended = ended or chunk.finish is not None
                chunks.put(chunk)
            chunks.put(None if ended else EngineAway("The engine broke off."))
        except EngineAway as error:
            chunks.put(error)
        except Exception as error:  # of a socket that is closed under it, too
            chunks.put(_away(error))

    def _ask(self, method: str, path: str, body: Fields | None) -> Any:
        connection = self._connect(_ASK_S)
        try:
            asked = None if body is None else json.dumps(body)
            told = self._send(connection, method, path, asked).read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise _away(error) from None
        finally:
            connection.close()
        try:
            return json.loads(told)
        except ValueError:
            return told

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        try:
            connection = kind(self._url.hostname or "", self._url.port, timeout=_CONNECT_S)
            connection.connect()
        except (OSError, ValueError) as error:
            raise _away(error) from None
        connection.sock.settimeout(timeout_s)
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: str | None
    ) -> http.client.HTTPResponse:
        data = None if body is None else body.encode("utf-8", "replace")
        connection.request(method, self._url.path + path, data, self._headers)
        response = connection.getresponse()
        if response.status >= 300:
            raise EngineRefused(response.status, path)
        return response


def _away(error: Exception) -> EngineAway:
    return EngineAway(f"The engine does not answer ({type(error).__name__}).")


def _waiting(chunks: queue.Queue[Chunk | EngineAway | None]) -> Iterator[Chunk | None]:
    while True:
        try:
            found = chunks.get(timeout=_LOOK_S)
        except queue.Empty:
            yield None
            continue
        if found is None:
            return
        if isinstance(found, EngineAway):
            raise found
        yield found


def _chunk(value: Json) -> Chunk:
    """Of one event; of one that carries an error EngineAway."""
    if "error" in value:
        raise EngineAway("The engine failed in the middle of an answer.")
    details = (value.get("usage") or {}).get("prompt_tokens_details") or {}
    cached = int(details.get("cached_tokens") or 0)
    if not (choices := value.get("choices")):
        return Chunk("", cached=cached)
    first = choices[0]
    nats = _nats(first.get("logprobs") or {})
    return Chunk(str(first.get("text") or ""), nats, first.get("finish_reason"), cached)


def _nats(told: Json) -> float | None:
    """vLLM tells a text completion's own form, llama-server that of a chat."""
    plain = told.get("token_logprobs")
    if plain is None:
        plain = [one.get("logprob") for one in told.get("content") or ()]
    return None if not plain or None in plain else float(sum(plain))
