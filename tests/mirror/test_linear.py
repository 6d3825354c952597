"""int8 products: both ways stay within a percent of fp32."""

from __future__ import annotations

import pytest
import torch

from vaultgpt.mirror.linear import Int8Way, int8_linear


@pytest.mark.parametrize("way", ["dynamic", "packed"])
@pytest.mark.parametrize("biased", [False, True])
def test_both_ways_of_int8_agree_with_fp32(way: Int8Way, biased: bool) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(96, 64), torch.randn(96) if biased else None
    for shape in ((1, 1, 64), (1, 17, 64), (5, 1, 64)):
        x = torch.randn(shape)
        wanted = torch.nn.functional.linear(x, weight, bias)
        got = int8_linear(weight, bias, way)(x)
        assert got.shape == wanted.shape and got.dtype == torch.float32
        assert (got - wanted).abs().max() < 0.03 * wanted.abs().max()


def test_without_any_int8_operator_it_falls_back_to_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("not built")

    monkeypatch.setattr("vaultgpt.mirror.linear._dynamic", missing)
    monkeypatch.setattr("vaultgpt.mirror.linear._packed", missing)
    weight, x = torch.randn(8, 4), torch.randn(1, 1, 4)
    assert torch.equal(int8_linear(weight, None)(x), torch.nn.functional.linear(x, weight))
