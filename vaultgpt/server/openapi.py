"""The API described for programs: OpenAPI 3.1, made from the table of routes.

Knows nothing about how requests are served.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from vaultgpt import __version__
from vaultgpt.server.problems import ErrorBody

if TYPE_CHECKING:
    from vaultgpt.server.routes import Route

_REF = "#/components/schemas/{model}"
_TEXT = {"type": "string"}
_Schema = Mapping[str, object]  # JSON Schema as pydantic makes it, or a part of this document


def document(routes: Iterable[Route]) -> Mapping[str, Any]:
    """The whole description."""
    schemas: dict[str, _Schema] = {}
    paths: dict[str, dict[str, _Schema]] = {}
    for route in routes:
        operation = _operation(route, schemas)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vaultgpt",
            "version": __version__,
            "description": "A vault's mirror, on this machine only.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: dict[str, _Schema]) -> _Schema:
    """One route; what its models refer to goes into `schemas`."""
    done: dict[str, object] = {"description": "Done"}
    if route.answer is not None:
        done["content"] = _json(_schema(route.answer, schemas))
    operation: dict[str, object] = {
        "summary": route.sentence,
        "responses": {
            str(route.status): done,
            "default": {"description": "Refused", "content": _json(_schema(ErrorBody, schemas))},
        },
        "security": [] if route.path == "/health" else [{"token": []}],
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    elif route.method == "POST":
        body = _json(_schema(route.request, schemas))
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _json(schema: _Schema) -> _Schema:
    return {"application/json": {"schema": schema}}


def _parameters(route: Route) -> list[_Schema]:
    """Fields in the path, and in the query of a GET."""
    found: list[_Schema] = []
    for name, field in route.request.model_fields.items():
        in_path = f"{{{name}}}" in route.path
        if not in_path and route.method != "GET":
            continue
        place = {"name": name, "in": "path" if in_path else "query"}
        said = {"description": field.description} if field.description else {}
        found.append({**place, "required": field.is_required(), "schema": _TEXT, **said})
    return found


def _schema(model: Any, schemas: dict[str, _Schema]) -> _Schema:
    """A reference to the model's schema, or the schema where it has no name."""
    made = json.dumps(TypeAdapter(model).json_schema(ref_template=_REF, mode="validation"))
    # A leading underscore is the code's affair.
    schema = json.loads(re.sub(r'(?<=/schemas/)_|(?<="title": ")_', "", made))
    schemas |= {name.lstrip("_"): one for name, one in schema.pop("$defs", {}).items()}
    name: str | None = schema.get("title")
    if name is None:
        return cast(_Schema, schema)
    schemas[name] = schema
    return {"$ref": _REF.format(model=name)}
