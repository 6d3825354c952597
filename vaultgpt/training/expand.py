"""The unpacking process: one GGUF file from standard input's job to a folder of safetensors.

transformers reads the file (its documentation, "GGUF"); what it loads so it refuses to save, so
weights, configuration and tokenizer are written here. Knows nothing about bases and names.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultgpt.children import leave_with_parent, no_core, private_stdout
from vaultgpt.training.trainer_worker import Channel
from vaultgpt.wire import read_frame

if TYPE_CHECKING:
    from vaultgpt.bases.kinds import Rope
    from vaultgpt.bases.unpack import UnpackAnswer, UnpackJob

_Tell = Callable[[int, int], None]  # done, in all
_LATER = 1.3  # the bar's end over the tensors read: writing and the tokenizer come after them


def _expand(job: UnpackJob, tell: _Tell) -> None:
    """Write model.safetensors, config.json and the tokenizer of job["file"] into job["folder"]."""
    _remember()
    _listen(tell)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file, folder = Path(job["file"]), Path(job["folder"])
    make: Any = AutoModelForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = make.from_pretrained(
        file.parent, gguf_file=file.name, dtype=getattr(torch, job["dtype"])
    )
    _write_weights(model, folder)
    _write_config(model, folder, job)
    _write_tokenizer(tokenizer, folder, job)


def _remember() -> None:
    """Let the gguf package read a header once, not twice, and build its table of names once.

    Of 21 profiled seconds for SmolLM2-135M 8.6 were two readings of 97,000 strings and 5.7 the same
    table for each of 397 modules."""
    import gguf

    package: Any = gguf
    for name in ("GGUFReader", "get_tensor_name_map"):
        setattr(package, name, functools.cache(getattr(package, name)))


def _listen(tell: _Tell) -> None:
    """Take the progress that transformers draws with tqdm; without it only the bar is lost."""
    best = 0.0  # a later bar, of the same tensors, does not go back
    module: Any = importlib.import_module("tqdm.auto")

    class Bar(module.tqdm):  # type: ignore[misc]
        def display(self, *args: Any, **options: Any) -> None:
            nonlocal best
            if self.total and self.n / self.total > best:
                best = self.n / self.total
                tell(int(self.n), int(self.total * _LATER))

    module.tqdm = Bar


def _write_weights(model: Any, folder: Path) -> None:
    """Every tensor once: of those that are tied only the embedding."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            tensors[name] = tensor.contiguous()
        seen.add(tensor.data_ptr())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write_config(model: Any, folder: Path, job: UnpackJob) -> None:
    """config.json without the quantisation that is gone, with the given start and end token."""
    values = model.config.to_dict() | {"architectures": [type(model).__name__]}
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(key, None)
    values |= {"bos_token_id": job["start"], "eos_token_id": job["end"], "dtype": job["dtype"]}
    if rope := _stretched_rope(model, Path(job["file"])):
        values["rope_parameters"] = rope
    text = json.dumps(values, indent=1, default=str)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _stretched_rope(model: Any, file: Path) -> Rope | None:
    """Llama 3's slowed rotary frequencies, which GGUF keeps as a tensor that transformers leaves.

    All its versions share every number but the factor. NotImplementedError for another stretching.
    """
    import gguf
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    tensors: Any = gguf.GGUFReader(str(file)).tensors
    factors = next((torch.tensor(t.data) for t in tensors if t.name == "rope_freqs.weight"), None)
    if factors is None:
        return None
    plain: Rope = model.config.rope_parameters
    stretched: Rope = {**plain, "rope_type": "llama3", "factor": float(factors.max())}
    stretched |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    stretched |= {"original_max_position_embeddings": 8192}
    model.config.rope_parameters = stretched
    inverse, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, torch.device("cpu"))
    usual = plain["rope_theta"] ** -(torch.arange(len(factors)) / len(factors))
    if not torch.allclose(usual / inverse, factors.float(), rtol=1e-3):
        raise NotImplementedError("rotary frequencies")
    return stretched


def _write_tokenizer(tokenizer: Any, folder: Path, job: UnpackJob) -> None:
    """tokenizer.json, and tokenizer_config.json without the template of a chat."""
    for key, wanted in (("bos_token", job["start"]), ("eos_token", job["end"])):
        if wanted is not None:
            setattr(tokenizer, key, tokenizer.convert_ids_to_tokens(wanted))
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)


def main() -> int:
    """The exit status: 0, or 1 after a frame that says what kind of failure it was."""
    no_core()
    channel = Channel(private_stdout())
    job: UnpackJob | None = read_frame(sys.stdin.buffer)
    if job is None:
        return 1
    leave_with_parent(130)
    try:
        _expand(job, lambda done, total: channel.send(_progress(done, total)))
    except Exception as error:
        # The process boundary: libraries raise a dozen kinds, and no text of theirs is shown.
        unknown = "is not supported" in str(error) or isinstance(error, NotImplementedError)
        kind = type(error).__name__
        failure: UnpackAnswer = {"event": "unknown" if unknown else "failed", "kind": kind}
        channel.send(failure)
        return 1
    return 0


def _progress(done: int, total: int) -> UnpackAnswer:
    return {"event": "progress", "done": done, "total": total}


if __name__ == "__main__":
    # Not sys.exit: finalising aborts while the watching thread waits in standard input.
    os._exit(main())
