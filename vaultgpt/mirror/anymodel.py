"""Any other causal model, through transformers, behind the engine's Model interface.

Each row has a cache of its own; a model without a plain attention cache (recurrent, hybrid) is
computed anew at every token. Knows nothing about requests.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaultgpt.arithmetic import Dtype, chunk_tokens, make_linear, stored_in
from vaultgpt.errors import BaseModelError
from vaultgpt.mirror.lean import Cache
from vaultgpt.mirror.weights import Checkpoint, LoraFactors


class _Rows:
    """One transformers cache a row, or the row's own tokens where the model keeps none."""

    def __init__(self, caches: list[Any]) -> None:
        self.caches = caches

    @property
    def rows(self) -> int:
        """Sequences side by side."""
        return len(self.caches)

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(
            t.numel() * t.element_size()
            for cache in self.caches
            for layer in getattr(cache, "layers", [])
            for t in (layer.keys, layer.values)
            if isinstance(t, Tensor)
        )


class AnyModel:
    """A model of transformers with an adapter merged in; see lean.Model for the methods."""

    def __init__(
        self,
        files: Checkpoint,
        adapter: LoraFactors | None,
        dtype: Dtype,
        device: torch.device,
        sample: Sequence[int] = (),
    ) -> None:
        self.device, self.dtype = device, dtype
        self.cost: float | None = None
        self.net = _load(files)
        config = self.net.config.get_text_config()
        self.context = int(getattr(config, "max_position_embeddings", None) or 2048)
        self.parameters = sum(p.numel() for p in self.net.parameters())
        self.vocab = int(self.net.get_output_embeddings().weight.shape[0])
        with torch.no_grad():
            if adapter:
                _merge(self.net, adapter)
        if dtype == "int8" and sample:
            self.exact = self._logits(list(sample))
        if dtype in ("int8", "float16") and device.type == "cpu":
            _pack(self.net, dtype)
        self.net = self.net.to(device, stored_in(dtype, device)).eval().requires_grad_(False)
        self.cached = _has_plain_cache(self.net)
        named = inspect.signature(self.net.forward).parameters
        self._cache_name = "cache" if "cache" in named else "past_key_values"  # before 5.24

    def _logits(self, ids: list[int]) -> Tensor:
        with torch.inference_mode():
            whole = torch.tensor([ids], device=self.device)
            logits: Tensor = self.net(input_ids=whole, use_cache=False).logits[0]
            return logits.float().cpu()  # [T, vocab]

    @property
    def chunk(self) -> int:
        """Tokens of about 50 ms on one thread."""
        return chunk_tokens(self.parameters, self.dtype, self.device)

    def nbytes(self) -> int:
        """Bytes of weights, roughly."""
        return sum(p.numel() * p.element_size() for p in self.net.parameters())

    def empty(self) -> _Rows:
        """A cache of one row."""
        return _Rows([self._fresh()])

    def _fresh(self) -> Any:
        if not self.cached:
            return []
        from transformers import DynamicCache

        return DynamicCache()  # without a configuration: full layers, which can be cut back

    def prefill(self, cache: Cache, ids: list[int], start: int) -> None:
        """Compute positions start.. of a one-row cache."""
        rows = _as_rows(cache)
        if self.cached:
            self._run(rows.caches[0], ids, start)
        else:
            rows.caches[0][start:] = ids

    def peek(self, cache: Cache, ids: list[int], start: int) -> Tensor:
        """As prefill, with the logits fp32 [len(ids), vocab] after each token."""
        return self._run(_as_rows(cache).caches[0], ids, start)

    def _run(self, cache: Any, ids: list[int], start: int) -> Tensor:
        with torch.inference_mode():
            if not self.cached:
                cache[start:] = ids
                return self._logits(cache)[start:]
            cut = start - cache.get_seq_length()
            if cut < 0:
                cache.crop(cut)  # negative: so many tokens from the end
            at = torch.arange(start, start + len(ids), device=self.device)
            out = self.net(
                input_ids=torch.tensor([ids], device=self.device),
                position_ids=at.unsqueeze(0),
                use_cache=True,
                **{self._cache_name: cache},
            )
            kept: Tensor = out.logits[0].float().cpu()  # [T, vocab]
            return kept

    def step(
        self, cache: Cache, ids: list[int], positions: list[int], every: bool = True
    ) -> Tensor:
        """One token a row at its own position, row after row: fp32 [rows, vocab]."""
        rows = _as_rows(cache)
        return torch.cat(
            [self._run(c, [i], p)[-1:] for c, i, p in zip(rows.caches, ids, positions, strict=True)]
        )

    def stack(self, caches: list[tuple[Cache, int]], rows: int) -> _Rows:
        """`rows` copies of each cache; later positions are cut when they are written again."""
        with torch.inference_mode():
            return _Rows(
                [
                    copy.deepcopy(_as_rows(cache).caches[0])
                    for cache, _ in caches
                    for _ in range(rows)
                ]
            )

    def keep(self, cache: Cache, rows: list[int]) -> _Rows:
        """Only these rows."""
        caches = _as_rows(cache).caches
        return _Rows([caches[row] for row in rows])


def _as_rows(cache: Cache) -> _Rows:
    assert isinstance(cache, _Rows)
    return cache


def _load(files: Checkpoint) -> Any:
    if files.config.get("auto_map"):
        raise BaseModelError(
            "This base asks to run code of its own, which vaultgpt never does.",
            "Choose a base of a family that transformers knows.",
        )
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            files.folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise BaseModelError(
            f"transformers can't load the base in {files.folder} ({type(error).__name__}).",
            "Choose another base.",
        ) from None


def _merge(net: Any, adapter: LoraFactors) -> None:
    from transformers.pytorch_utils import Conv1D

    modules = dict(net.named_modules())
    for name in adapter.factors:
        module = modules.get(name)
        if module is None:
            continue  # LoraFactors.finish refuses it
        weight = module.weight
        if isinstance(module, Conv1D):
            weight.copy_(adapter.merge(name, weight.t().contiguous()).t())
        else:
            adapter.merge(name, weight)
    adapter.merge_embedding(net.get_input_embeddings().weight)


class _PackedLinear(torch.nn.Module):
    """An nn.Linear or Conv1D in int8 or fp16."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: Dtype) -> None:
        super().__init__()
        self.product = make_linear(weight, bias, dtype, torch.device("cpu"))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        out: Tensor = self.product(x)
        return out


def _pack(net: Any, dtype: Dtype) -> None:
    """Replace the products of the blocks; a head tied to the embedding keeps its own weight."""
    from transformers.pytorch_utils import Conv1D

    head = net.get_output_embeddings()
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if child is head or type(child) not in (torch.nn.Linear, Conv1D):
                continue
            weight = child.weight.detach()
            weight = weight.t().contiguous() if isinstance(child, Conv1D) else weight
            bias = getattr(child, "bias", None)
            bias = None if bias is None else bias.detach()
            setattr(parent, name, _PackedLinear(weight, bias, dtype))


def _has_plain_cache(net: Any) -> bool:
    """Whether keys and values are all that the model remembers."""
    if getattr(net, "_is_stateful", False):
        return False
    kinds = set(getattr(net.config.get_text_config(), "layer_types", None) or [])
    return not kinds - {"full_attention", "sliding_attention"}
