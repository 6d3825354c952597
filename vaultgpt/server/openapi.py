"""The API described for programs: OpenAPI 3.1, its bodies made from the pydantic models.

Knows nothing about how requests are served.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vaultgpt import __version__
from vaultgpt.server import schemas

_REF = "#/components/schemas/{model}"
READS = {
    "/health": "Says only ok; needs no token",
    "/v1/status": "Notes, words, the active generation, training and what is next",
    "/v1/models": '"mirror", "base" and the kept generations',
    "/v1/generations": "The history of generations",
    "/v1/report": "How well the active generation sounds like the author, with sentences",
    "/v1/tags": "Tags and years with their counts",
    "/v1/notes": "Why one note is used or not",
    "/v1/events": "Server-sent events: scan, progress, verdict, swap, error",
    "/metrics": "Figures in Prometheus' text format",
    "/openapi.json": "This description",
}
POSTS: dict[str, tuple[str, type[BaseModel]]] = {
    "/v1/completions": ("Write on from the prompt", schemas.CompletionRequest),
    "/v1/warm": ("Prefill and cache the prompt", schemas.WarmRequest),
    "/v1/accepted": ("The author took this text: it is never trained on", schemas.AcceptedRequest),
    "/v1/train": ("Start a round now", schemas.TrainRequest),
    "/v1/train/cancel": ("End the running round", schemas.Empty),
    "/v1/generations/{id}/activate": ("Write with that generation from now on", schemas.Empty),
    "/v1/forget": ("Unlearn one note", schemas.ForgetRequest),
    "/v1/reload": ("Read settings, token and ledger again", schemas.Empty),
}


def document() -> dict[str, Any]:
    """The whole description."""
    models = {model for _, model in POSTS.values()}
    _, definitions = models_json_schema([(m, "validation") for m in sorted(models, key=str)],
                                        ref_template=_REF)
    paths: dict[str, Any] = {path: {"get": _operation(path, text)} for path, text in READS.items()}
    for path, (text, model) in POSTS.items():
        paths[path] = {"post": _operation(path, text, model)}
    error = {"type": "object", "properties": {"error": {
        "type": "object", "required": ["message", "type", "code", "param"], "properties": {
            "message": {"type": "string"}, "type": {"type": "string"},
            "code": {"type": "string"}, "param": {"type": ["string", "null"]}}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vaultgpt", "version": __version__,
                 "description": "A vault's mirror, on this machine only."},
        "paths": paths,
        "components": {
            "schemas": {**definitions["$defs"], "Error": error},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, text: str, model: type[BaseModel] | None = None) -> dict[str, Any]:
    failure = {"description": "Refused", "content": {"application/json": {
        "schema": {"$ref": _REF.format(model="Error")}}}}
    operation: dict[str, Any] = {
        "summary": text, "responses": {"200": {"description": "Done"}, "default": failure},
        "security": [] if path == "/health" else [{"token": []}],
    }
    if path == "/v1/notes":
        operation["parameters"] = [{"name": "path", "in": "query", "required": True,
                                    "schema": {"type": "string"}}]
    if path == "/v1/report":
        operation["parameters"] = [{
            "name": "measure", "in": "query", "schema": {"type": "string", "enum": ["0", "1"]},
            "description": "1: measure the voice first where it is not known, about a minute"}]
    if "{id}" in path:
        operation["parameters"] = [{"name": "id", "in": "path", "required": True,
                                    "schema": {"type": "string"}}]
    if model is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {
            "schema": {"$ref": _REF.format(model=model.__name__)}}}}
    return operation
