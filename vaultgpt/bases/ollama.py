"""Ollama's store: which file holds the weights of a model that it knows by name.

Its layout is manifests/HOST/NAMESPACE/MODEL/TAG, a JSON whose layers name blobs by hash. Reads
that alone and never asks Ollama.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from vaultgpt.errors import BaseModelError

OLLAMA = "ollama:"


def _stores() -> list[Path]:
    """The folders where Ollama may keep models, the likeliest first."""
    if named := os.environ.get("OLLAMA_MODELS"):
        return [Path(named).expanduser()]
    service = Path("/usr/share/ollama/.ollama/models")  # of the Linux installer's own user
    return [p for p in (Path.home() / ".ollama" / "models", service) if os.path.lexists(p)]


def ollama_file(name: str) -> Path:
    """The weights of `ollama:[host/][namespace/]model[:tag]`, by its manifest. BaseModelError."""
    stores = _stores()
    for store in stores:
        for manifest in _manifests(store, name.removeprefix(OLLAMA)):
            return _weights_of(manifest, store, name)
    where = " or ".join(map(str, stores)) or "~/.ollama/models"
    known = [n for store in stores for n in _known_to_ollama(store)]
    has = f" It has {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}." if known else ""
    raise BaseModelError(
        f"Ollama has no {name.removeprefix(OLLAMA)} in {where}.{has}",
        f"Fetch it with `ollama pull {name.removeprefix(OLLAMA)}`, or set OLLAMA_MODELS.",
    )


def _manifests(store: Path, name: str) -> list[Path]:
    """Manifests that exist for a name: STORE/manifests/HOST/NAMESPACE/MODEL/TAG."""
    rest, tag = name, "latest"
    if name.rfind(":") > name.rfind("/"):
        rest, _, tag = name.rpartition(":")
    parts = rest.split("/")
    if not 1 <= len(parts) <= 3 or any(p in ("", ".", "..") for p in (*parts, tag)):
        return []
    hosts = [parts[0]] if len(parts) == 3 else ["registry.ollama.ai", "ollama.com"]
    namespace = parts[-2] if len(parts) > 1 else "library"
    places = (
        store / root / host / namespace / parts[-1] / tag
        for root in ("manifests", "manifest-v2")  # newer Ollamas write the second
        for host in hosts
    )
    return [p for p in places if p.is_file()]


def _known_to_ollama(store: Path) -> list[str]:
    found = []
    for path in sorted(store.glob("manifest*/*/*/*/*")):
        namespace, model, tag = path.parts[-3:]
        short = model if namespace == "library" else f"{namespace}/{model}"
        found.append(f"{short}:{tag}")
    return sorted(set(found))


def _weights_of(manifest: Path, store: Path, name: str) -> Path:
    try:
        layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        kinds = [str(x["mediaType"]).split(";")[0].rsplit(".", 1)[-1].strip() for x in layers]
        digests = [str(x["digest"]) for x, k in zip(layers, kinds, strict=True) if k == "model"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BaseModelError(
            f"Ollama's manifest of {name} can't be read.", "Mend its permissions, or pull it again."
        ) from None
    if "adapter" in kinds:
        raise BaseModelError(
            f"{name} is an adapter on another model.", "Name the model that it was trained on."
        )
    if len(digests) != 1 or not re.fullmatch(r"sha256[:-][0-9a-f]{64}", digests[0]):
        what = "keeps it in a form of its own" if "tensor" in kinds else "has no weights of it here"
        raise BaseModelError(f"Ollama {what}: {name} can't be a base.", "Take the full model.")
    blob = store / "blobs" / digests[0].replace(":", "-")
    if not os.access(blob, os.R_OK):
        raise BaseModelError(
            f"The weights of {name} can't be read ({blob}).",
            "Pull it again, or ask for the right to read Ollama's files.",
        )
    return blob
