"""Several processes that learn one lesson: gradients are added up, the first one decides.

torch's own launcher (torchrun) starts them, and its environment says how many they are. A large
base may be shared out: each keeps a part of its frozen weights (FSDP). Knows nothing about what is
learned.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

_T = TypeVar("_T")
_PATIENCE = timedelta(days=1)  # the others wait while the first one measures


@dataclass(frozen=True)
class Together:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1
    shared: bool = False  # the base is shared out: all must pass its blocks equally often

    @staticmethod
    def join() -> Together:
        """Meet the others that torchrun has started; ALONE without it."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return ALONE
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
        return Together(dist.get_rank(), size)

    @property
    def first(self) -> bool:
        """Whether it speaks for all: to the parent, and on the disk."""
        return self.rank == 0

    def mine(self, parts: Sequence[_T]) -> list[_T]:
        """This process's share of parts that are ordered by size: to and fro, so that they even
        out."""
        return [p for at, p in enumerate(parts) if _turn(at, self.size) == self.rank]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes its sum over all processes."""
        if self.size == 1:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def sharing(self, params: int, most: int) -> Together:
        """As it is for a base of so many parameters, of which one alone keeps `most`."""
        return replace(self, shared=self.size > 1 and params > most)

    def share_out(self, model: nn.Module, device: str) -> None:
        """Keep a part of every block's frozen weights: a block is whole while it computes.

        What is trained stays whole in each; its gradients are added up as ever."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device, (self.size,))
        for block in _blocks(model):
            trained = {p for p in block.parameters() if p.requires_grad}
            fully_shard(block, mesh=mesh, ignored_params=trained)

    def idle(self, passes: int) -> int:
        """How many passes of a shared base this one lacks beside who has most."""
        if not self.shared:
            return 0
        most = torch.tensor([passes])
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most) - passes

    def same(self, value: _T) -> _T:
        """The first one's value, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


ALONE = Together()


def _blocks(model: nn.Module) -> list[nn.Module]:
    """A transformer's layers: the list of modules that holds most of it."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    sizes = [sum(p.numel() for p in each.parameters()) for each in lists]
    return list(lists[sizes.index(max(sizes))])


def _turn(at: int, size: int) -> int:
    lap, place = divmod(at, size)
    return place if lap % 2 == 0 else size - 1 - place
