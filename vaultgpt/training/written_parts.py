"""Parts of a written-out block: products with LoRA on them, and RMS norms, with their slopes.

The frozen weights are held once, in the arithmetic of the products. Knows nothing about attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 1 << 14


class Joined:
    """Products of one input as one matrix [[W, sB], [A, 0]], W and B of each below one another.

    An input [N, in] is widened by what A makes of it, so that W and B take one product, and a slope
    [N, out] by what B makes of it, so that W' and A' do.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        self.layers = layers
        self.linears = [layer.get_base_layer() for layer in layers]
        self.pairs = [
            (layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers
        ]
        self.scales = [layer.scaling["default"] for layer in layers]
        weights = [linear.weight for linear in self.linears]
        self.ins, self.rank = weights[0].shape[1], self.pairs[0][0].shape[0]
        self.outs = sum(len(weight) for weight in weights)
        low = self.rank * len(weights)
        self.matrix = torch.zeros(self.outs + low, self.ins + low, dtype=dtype)
        self.places: list[tuple[slice, slice, slice]] = []  # rows of W; rows of A, columns of B
        self.exact: list[Tensor] = []  # of the frozen weights
        at = 0
        for index, weight in enumerate(weights):
            first = index * self.rank
            self.places.append(
                (
                    slice(at, at + len(weight)),
                    slice(self.outs + first, self.outs + first + self.rank),
                    slice(self.ins + first, self.ins + first + self.rank),
                )
            )
            at += len(weight)
            self.exact.append(hold(weight, self.matrix[self.places[-1][0], : self.ins]))
        biases = [linear.bias for linear in self.linears]
        some = [b is not None for b in biases]
        if any(some) != all(some):
            raise ValueError("biases on some products only")
        self.bias = torch.cat(biases).to(dtype) if all(some) else None

    def take(self) -> None:
        """Bring A and B into the matrix as they stand."""
        for (out, down, up), (a, b), scale in zip(
            self.places, self.pairs, self.scales, strict=True
        ):
            self.matrix[down, : self.ins].copy_(a)
            self.matrix[out, up].copy_(b).mul_(scale)

    def room(self, rows: int) -> Tensor:
        """For an input: [rows, in + low], of which the caller fills [:, :in]."""
        return self.matrix.new_empty(rows, self.matrix.shape[1])

    def slope_room(self, rows: int) -> Tensor:
        """For a slope: [rows, out + low], of which the caller fills [:, :out]."""
        return self.matrix.new_empty(rows, self.matrix.shape[0])

    def __call__(self, x: Tensor) -> Tensor:
        """[N, out] of an input [N, in + low]."""
        torch.mm(x[:, : self.ins], self.matrix[self.outs :, : self.ins].T, out=x[:, self.ins :])
        whole = self.matrix[: self.outs].T
        return torch.mm(x, whole) if self.bias is None else torch.addmm(self.bias, x, whole)

    def back(self, slope: Tensor, x: Tensor, found: dict[int, Tensor]) -> Tensor:
        """Slope [N, in] of the input from that [N, out + low] of the output; A's and B's too."""
        torch.mm(
            slope[:, : self.outs], self.matrix[: self.outs, self.ins :], out=slope[:, self.outs :]
        )
        downs = slope[:, self.outs :].T @ x[:, : self.ins]  # [low, in]
        for (out, down, up), (a, b), scale in zip(
            self.places, self.pairs, self.scales, strict=True
        ):
            first = down.start - self.outs
            found[id(a)] = downs[first : first + self.rank].float()
            found[id(b)] = (slope[:, out].T @ x[:, up]).float().mul_(scale)
        of_x: Tensor = torch.mm(slope, self.matrix[:, : self.ins])
        return of_x

    def release(self, dtype: torch.dtype) -> None:
        """Give the layers weights of their own again."""
        for linear, exact in zip(self.linears, self.exact, strict=True):
            linear.weight.data = exact.to(dtype, copy=True, memory_format=torch.contiguous_format)


def exact_in(weight: Tensor, *dtypes: torch.dtype) -> Tensor | None:
    """The weight in the first of these that loses nothing; None where each does."""
    for dtype in dtypes:
        parts = torch.split(weight, _ROWS)
        if all(torch.equal(part.to(dtype).to(weight.dtype), part) for part in parts):
            return weight.to(dtype)
    return None


def hold(weight: nn.Parameter, into: Tensor) -> Tensor:
    """Let a weight lie in `into`, rounded to its arithmetic; the exact one, as small as can be."""
    exact = exact_in(weight.data, into.dtype, torch.float16)
    whole = weight.data if exact is None else exact
    into.copy_(weight.data)
    weight.data = into
    return into if whole.dtype == into.dtype else whole


class Norm:
    """RMS norm by a factor [width], of rows in float32."""

    def __init__(self, module: Any) -> None:
        weight = module.weight.detach().float()
        gemma = type(module).__name__.startswith("Gemma")
        self.weight = weight + 1.0 if gemma else weight
        self.eps = float(getattr(module, "variance_epsilon", getattr(module, "eps", 1e-6)))

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Fill `out`; the rows' 1 / RMS [..., 1]."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        share = size.square_().div_(x.shape[-1]).add_(self.eps).rsqrt_()
        out.copy_((x * share).mul_(self.weight))
        return share  # type: ignore[no-any-return]

    def back(self, slope: Tensor, x: Tensor, share: Tensor) -> Tensor:
        """Slope of x, float32, from that of the output."""
        slope = slope * self.weight
        pull = torch.linalg.vecdot(slope, x).unsqueeze(-1)
        pull.mul_(share.pow(3)).div_(-x.shape[-1])
        return slope.mul_(share).addcmul_(x, pull)
