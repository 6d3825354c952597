"""A base model's files: config.json and safetensors, single or sharded, read tensor by tensor.

And a generation's adapter, merged into each tensor in fp32 as it is read, always from the pristine
base. Knows nothing about the shapes of any family.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vaultgpt.errors import BaseModelError, GenerationError
from vaultgpt.files import read_json
from vaultgpt.generation_folders import PeftAdapter

if TYPE_CHECKING:
    from vaultgpt.bases.kinds import ModelConfig


def keys(text: str) -> frozenset[str]:
    """Names of configuration keys, parted by white space."""
    return frozenset(text.split())


NEUTRAL = keys(  # what does not change any forward pass
    """architectures transformers_version dtype torch_dtype bos_token_id eos_token_id pad_token_id
    unk_token_id use_cache initializer_range attention_dropout resid_pdrop embd_pdrop attn_pdrop
    pretraining_tp _name_or_path _model_name_or_path return_dict output_hidden_states n_ctx
    output_attentions chunk_size_feed_forward is_encoder_decoder id2label label2id problem_type
    max_window_layers is_llama_config rope_interleaved summary_type summary_use_proj _num_labels
    summary_activation summary_proj_to_labels summary_first_dropout task_specific_params
    gradient_checkpointing vaultgpt_base_version"""
)


class Checkpoint:
    """The tensors of a model folder by name. BaseModelError when files are missing or torn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.config: ModelConfig = read_json(folder / "config.json")
            self._files = {name: folder / file for name, file in self._index().items()}
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise BaseModelError(
                f"The base in {folder} can't be read ({type(error).__name__}).",
                "Fetch it again, as safetensors.",
            ) from None
        self._open: dict[Path, Any] = {}

    def _index(self) -> dict[str, str]:
        sharded = self.folder / "model.safetensors.index.json"
        if sharded.exists():
            return dict(read_json(sharded)["weight_map"])
        with safe_open(self.folder / "model.safetensors", "pt") as file:
            return dict.fromkeys(file.keys(), "model.safetensors")

    @property
    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._files)

    def read(self, name: str) -> Tensor:
        """One tensor in fp32, a copy of its own."""
        path = self._files[name]
        try:
            if path not in self._open:
                self._open[path] = safe_open(path, "pt")
            tensor: Tensor = self._open[path].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise BaseModelError(
                f"The base in {self.folder} can't be read ({type(error).__name__}).",
                "Fetch it again.",
            ) from None
        return tensor.to(torch.float32, copy=True)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        path = self._files[name]
        if path not in self._open:
            self._open[path] = safe_open(path, "pt")
        return tuple(self._open[path].get_slice(name).get_shape())

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(self.shape(name)) for name in self.names)

    def close(self) -> None:
        """Let go of the files."""
        self._open.clear()


class Weights:
    """What a forward pass reads of a checkpoint, an adapter merged in, and what it has not read."""

    def __init__(self, files: Checkpoint, adapter: LoraFactors | None) -> None:
        self._files, self._adapter = files, adapter
        self.left = set(files.names)
        self.parameters = 0
        self._counting = threading.Lock()  # layers are read in several threads
        # Merged products that this one hands to another forward pass of the same voice, or takes
        # from one: read and merged once, and changed by neither.
        self.hands: dict[str, Tensor] | None = None
        self.takes: dict[str, Tensor] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._files.names

    def read(self, name: str) -> Tensor:
        """A tensor in fp32. KeyError when there is none."""
        return self._counted(name, self._files.read(name))

    def _counted(self, name: str, weight: Tensor) -> Tensor:
        with self._counting:
            if name in self.left:
                self.left.discard(name)
                self.parameters += weight.numel()
        return weight

    def product(self, name: str, module: str | None = None, *, conv: bool = False) -> Tensor:
        """The weight [out, in] of a product, merged; `module` is its name for the adapter.

        A Conv1D's is stored as [in, out]."""
        return self._shared([name], lambda: self._merged(name, module or name, conv))

    def joined(self, names: list[str]) -> Tensor:
        """The weights of several products of one input as one, which nobody may change."""

        def make() -> Tensor:
            weights = [self._merged(name, name) for name in names]
            return torch.cat(weights) if len(weights) > 1 else weights[0]

        return self._shared(names, make)

    def _merged(self, name: str, module: str, conv: bool = False) -> Tensor:
        weight = self.read(f"{name}.weight")
        weight = weight.t().contiguous() if conv else weight
        return self._adapter.merge(module, weight) if self._adapter else weight

    def _shared(self, names: list[str], make: Callable[[], Tensor]) -> Tensor:
        """What another forward pass has of these, or what is made and handed to one."""
        given = self.takes.pop(names[0], None) if self.takes else None
        if given is None:
            given = make()
            if self.hands is not None:
                self.hands[names[0]] = given
            return given
        with self._counting:
            self.left -= {f"{name}.weight" for name in names}
            self.parameters += given.numel()
        return given

    def ends(self, embedding: str, tied: bool) -> tuple[Tensor, Tensor]:
        """The embedding and the head [vocab, hidden]; one tensor where they are tied."""
        table = self.read(embedding)
        table = self._adapter.merge_embedding(table) if self._adapter else table
        if not tied:
            return table, self.product("lm_head")
        self.left.discard("lm_head.weight")
        return table, table


class LoraFactors:
    """A generation's LoRA factors by module name, and which have been merged. GenerationError."""

    def __init__(self, folder: Path) -> None:
        found = PeftAdapter.read(folder, load_file)
        delta = found.embedding
        self.folder, self.scale = folder, found.scale
        self.embedding = None if delta is None else delta.float()
        self.factors = {name: (a.float(), b.float()) for name, (a, b) in found.factors.items()}
        self._left = set(self.factors)

    def merge(self, module: str, weight: Tensor) -> Tensor:
        """`weight` [out, in] fp32 of `module` ("model.layers.0.mlp.up_proj"), its delta added."""
        if module not in self.factors:
            return weight
        self._left.discard(module)
        a, b = self.factors[module]
        if weight.shape != (b.shape[0], a.shape[1]):
            raise self._unfit()
        return weight.addmm_(b, a, alpha=self.scale)  # [out, r] @ [r, in]

    def merge_embedding(self, weight: Tensor) -> Tensor:
        """The input embedding [vocab, hidden] fp32 with its delta added."""
        if self.embedding is None:
            return weight
        if self.embedding.shape != weight.shape:
            raise self._unfit()
        return weight.add_(self.embedding)

    def pair(self, modules: list[str]) -> tuple[Tensor, Tensor]:
        """The factors of several products of one input as those of one, [k, in] and [out, k].

        KeyError where one of them has none."""
        pairs = [self.factors[module] for module in modules]
        self._left -= set(modules)
        down, up = torch.cat([a for a, _ in pairs]), [b for _, b in pairs]
        whole: Tensor = torch.block_diag(*up)  # type: ignore[no-untyped-call]
        return down, whole * self.scale

    @property
    def leaves_ends(self) -> bool:
        """Whether it changes neither the embedding nor the head."""
        return self.embedding is None and "lm_head" not in self.factors

    @property
    def used(self) -> bool:
        """Whether every factor has found its module."""
        return not self._left

    def finish(self) -> None:
        """Every factor must have found its module. GenerationError otherwise."""
        if self._left:
            raise self._unfit()

    def _unfit(self) -> GenerationError:
        return GenerationError(
            f"The generation in {self.folder} does not fit this base.",
            "Activate one that was trained on it.",
        )
