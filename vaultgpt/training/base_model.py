"""Loads a base model from a local folder and finds out what it can do.

Safetensors only, never remote code. Knows nothing about adapters or data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as hf_logging

from vaultgpt.bases.kinds import ModelConfig
from vaultgpt.corpus.documents import Encoder
from vaultgpt.errors import BaseModelError
from vaultgpt.training.device import Device

_FP32_PARAMS = 2_000_000_000  # larger bases keep bfloat16 weights and are evaluated in them
_LEAK_SHARE = 0.02  # a packed document may differ by this share of what a real leak changes
_CHOOSE = "Choose another base with `vaultgpt base NAME`."


@dataclass
class BaseModel:
    """A loaded base, its tokenizer, and what was found out about it at load."""

    model: Any  # a transformers causal language model; typed loosely since families differ
    encoder: Encoder
    device: Device
    packs: bool  # packed documents are isolated by position_ids
    plain_head: bool  # logits are head(last hidden state) and nothing more
    params: int
    context: int  # longest sequence, tokens
    notes: list[str] = field(default_factory=list)
    written: Any = None  # its blocks while they carry LoRA, written.py; None: transformers'

    @property
    def embedding(self) -> nn.Parameter:
        """The token embedding [vocabulary, hidden]."""
        weight: nn.Parameter = self.model.get_input_embeddings().weight
        return weight

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        head = self.model.get_output_embeddings()
        return head is not None and head.weight is self.embedding

    def hidden(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """Last hidden states [B, L, hidden] of ids [B, L]; only where plain_head."""
        if self.written is not None:
            return self.written.hidden(ids, positions)  # type: ignore[no-any-return]
        backbone = getattr(self.model, self.model.base_model_prefix)
        out = backbone(**_inputs(ids, positions))
        last: Tensor = out.last_hidden_state
        return last

    def logits(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """Logits [B, L, vocabulary] of ids [B, L]."""
        out: Tensor = self.model(**_inputs(ids, positions)).logits
        return out

    def move(self, device: Device) -> None:
        """Move the weights to another device."""
        self.model.to(device.where)
        self.device = device


def _inputs(ids: Tensor, positions: Tensor | None) -> dict[str, Tensor | bool | None]:
    """attention_mask=None and use_cache=False: with either default transformers 5.23 lets packed
    documents see each other, without a warning."""
    given: dict[str, Tensor | bool | None] = {"input_ids": ids, "use_cache": False}
    if positions is not None:
        given |= {"position_ids": positions, "attention_mask": None}
    return given


def load_base(folder: Path, device: Device) -> BaseModel:
    """Load the causal model in `folder`; BaseModelError says in one sentence why it can't be."""
    quiet()
    config = _check_folder(folder)
    model = _load_model(folder, device)
    encoder = load_encoder(folder, config)
    rows = model.get_input_embeddings().weight.shape[0]
    if encoder.tokenizer.get_vocab_size() > rows or max(encoder.start, encoder.end) >= rows:
        raise BaseModelError("The base's tokenizer has more tokens than its embedding.", _CHOOSE)
    params = sum(p.numel() for p in model.parameters())
    base = BaseModel(
        model,
        encoder,
        device,
        packs=False,
        plain_head=False,
        params=params,
        context=_context(config),
    )
    base.plain_head = _head_is_plain(base)
    base.packs = packing_isolates(base)
    if not base.packs:
        base.notes.append("this base can't be packed: one document a row")
    if model.dtype != torch.float32:
        base.notes.append("this base is too large for float32: evaluated in bfloat16")
    return base


def quiet() -> None:
    """Libraries neither warn nor draw bars: the worker's frames say what there is to say."""
    logging: Any = hf_logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _check_folder(folder: Path) -> ModelConfig:
    try:
        config: ModelConfig = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BaseModelError("The base's folder holds no readable config.json.", _CHOOSE) from None
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if known is None:
        if config.get("auto_map"):
            raise BaseModelError(
                "The base wants to run code of its own, which is never allowed.", _CHOOSE
            )
        raise BaseModelError(f"The base is of a kind ({kind}) that can't be used here.", _CHOOSE)
    names = {known} if isinstance(known, str) else set(known)
    architectures = config.get("architectures") or []
    if config.get("is_encoder_decoder") or (architectures and not names & set(architectures)):
        raise BaseModelError("The base is not a causal language model.", _CHOOSE)
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError("The base has no safetensors weights.", _CHOOSE)
    return config


def _load_model(folder: Path, device: Device) -> Any:
    make: Any = AutoModelForCausalLM
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            size = sum(p.numel() for p in make.from_config(config).parameters())
        model, info = make.from_pretrained(
            folder,
            dtype=torch.float32 if size <= _FP32_PARAMS else torch.bfloat16,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers raises a dozen kinds for a damaged folder
        raise BaseModelError(
            f"The base can't be loaded ({type(error).__name__}).", _CHOOSE
        ) from None
    if info["missing_keys"] or info.get("mismatched_keys"):
        raise BaseModelError("The base's weights do not fit its config.", _CHOOSE)
    model.requires_grad_(False)
    model.eval()
    return model.to(device.where)


def load_encoder(folder: Path, config: ModelConfig) -> Encoder:
    """The base's tokenizer, and its start and end tokens: bos (else eos) and eos (else bos)."""
    try:
        fast = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = fast.backend_tokenizer
    except Exception as error:
        raise BaseModelError(
            f"The base's tokenizer can't be loaded ({type(error).__name__}).", _CHOOSE
        ) from None
    start = _first(config.get("bos_token_id"), fast.bos_token_id)
    end = _first(config.get("eos_token_id"), fast.eos_token_id)
    if start is None and end is None:
        raise BaseModelError("The base's tokenizer has no end-of-text token.", _CHOOSE)
    # One of them is not None here; 0 is a token like any other.
    return Encoder(tokenizer, end if start is None else start, start if end is None else end)  # type: ignore[arg-type]


def _first(*values: Any) -> int | None:
    for value in values:
        if isinstance(value, list):
            value = value[0] if value else None
        if value is not None:
            return int(value)
    return None


def _context(config: ModelConfig) -> int:
    for name in (
        "max_position_embeddings",
        "n_positions",
        "n_ctx",
        "context_length",
        "max_seq_len",
    ):
        if isinstance(found := config.get(name), int):
            return found
    return 1 << 20


def _probe(base: BaseModel, *sizes: int) -> list[Tensor]:
    """Fixed pseudo-random token ids, one [1, n] tensor a size."""
    generator = torch.Generator().manual_seed(7)
    rows = base.embedding.shape[0]
    return [
        torch.randint(0, rows, (1, n), generator=generator).to(base.device.where) for n in sizes
    ]


@torch.no_grad()
def _head_is_plain(base: BaseModel) -> bool:
    """Some families scale or cap logits after the head; those must go through their own forward."""
    (ids,) = _probe(base, 9)
    head = base.model.get_output_embeddings()
    try:
        mine = head(base.hidden(ids, None))
    except (AttributeError, TypeError):
        return False
    return bool(torch.allclose(mine.float(), base.logits(ids, None).float(), atol=1e-5, rtol=1e-4))


@torch.no_grad()
def packing_isolates(base: BaseModel) -> bool:
    """Whether two packed documents have the logits they have alone.

    The difference is measured against a real leak: the same packing with an attention mask of
    ones. A family that ignores position_ids (recurrent ones do) fails."""
    if base.context < 24:
        return False
    first, second = _probe(base, 11, 13)
    ids = torch.cat([first, second], 1)  # [1, 24]
    positions = torch.cat([torch.arange(11), torch.arange(13)])[None].to(base.device.where)
    alone = torch.cat([base.logits(first, None), base.logits(second, None)], 1)
    try:
        packed = base.logits(ids, positions)
        leaking = base.model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=torch.ones_like(ids),
            use_cache=False,
        ).logits
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    leak = float((leaking - alone)[:, 11:].abs().max())
    found = float((packed - alone).abs().max())
    return found <= max(_LEAK_SHARE * leak, 0.0) and leak > 0.0
