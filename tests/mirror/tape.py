"""A CUDA graph's behaviour on the CPU, and its strictness. Knows nothing about models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
SYNCS = {"item", "_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select"}
FROM_PYTHON = {"lift_fresh", "scalar_tensor"}  # numbers that Python hands to the device


@dataclass
class Address:
    """A tensor in memory that the capture did not make: read there again, whoever owns it then."""

    storage: Any
    where: int
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    @staticmethod
    def of(tensor: Tensor) -> Address:
        place = tensor.dtype, tensor.size(), tensor.stride(), int(tensor.storage_offset())
        return Address(StorageWeakRef(tensor.untyped_storage()), tensor.data_ptr(), *place)

    def tensor(self) -> Tensor:
        assert not self.storage.expired(), "a replay reads memory that was freed since the capture"
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        found = torch.empty(0, dtype=self.dtype)
        found.set_(storage, self.offset, self.size, self.stride)
        assert found.data_ptr() == self.where
        return found


class Recorder(TorchDispatchMode):
    """Every operation, with the tensors and the numbers it had."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Any]]] = []
        self._made: set[int] = set()  # storages that the capture made: they live as long as it

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in SYNCS, f"{name}: a capture can't wait for the device"
        assert name not in FROM_PYTHON, f"{name}: a replay would have the number of the capture"
        kwargs = kwargs or {}
        given = {key(t) for t in tensors((args, kwargs))}
        noted = tree_map(self._noted, (tuple(args), dict(kwargs)))
        out = func(*args, **kwargs)
        self._made |= {key(t) for t in tensors(out)} - given
        self.operations.append((func, *noted, [self._noted(t) for t in tensors(out)]))
        return out

    def _noted(self, value: Any) -> Any:
        outside = isinstance(value, Tensor) and key(value) not in self._made
        return Address.of(value) if outside else value

    def numbers(self) -> list[Any]:
        """What Python said to each operation."""
        return [
            (func, [v for v in tree_flatten(given)[0] if not isinstance(v, Tensor | Address)])
            for func, *given, _ in self.operations
        ]


class TapeGraph:
    """For vaultgpt.mirror.graphs: `replay` repeats the operations of the capture, on the same
    memory, with the same numbers; AssertionError where the step would say other numbers now."""

    def capture(self, step: Callable[[], Tensor]) -> Tensor:
        self._step, self._tape = step, Recorder()
        with self._tape:
            return step()

    def replay(self) -> None:
        self.ask_again()
        self.repeat()

    def ask_again(self) -> None:
        """Take the step, compare Python's numbers, and leave memory as it was."""
        written = [
            args[0].tensor()
            for func, args, _, _ in self._tape.operations
            if func.overloadpacket.__name__.endswith("_") and isinstance(args[0], Address)
        ]
        before = [place.clone() for place in written]
        with Recorder() as now:
            self._step()
        assert now.numbers() == self._tape.numbers(), "Python's numbers changed since the capture"
        for place, was in zip(written, before, strict=True):
            place.copy_(was)

    def repeat(self) -> None:
        """As a card does it."""
        for func, args, kwargs, before in self._tape.operations:
            args, kwargs = tree_map(_read, (args, kwargs))
            for old, new in zip(before, tensors(func(*args, **kwargs)), strict=True):
                if _read(old).data_ptr() != new.data_ptr():
                    assert isinstance(old, Tensor), "another place than at the capture"
                    old.copy_(new)


def _read(value: Any) -> Any:
    return value.tensor() if isinstance(value, Address) else value


def tensors(tree: Any) -> list[Tensor]:
    return [value for value in tree_flatten(tree)[0] if isinstance(value, Tensor)]


def key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
