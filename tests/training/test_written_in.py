"""What is judged is what will write: merged weights in the arithmetic of the mirror."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import tiny
from tests.training.conftest import MakeJob
from tests.training.test_lora import CPU, IDS, random_adapter
from tests.training.test_trainer import run
from vaultgpt import arithmetic
from vaultgpt.arithmetic import Dtype, multiplies_fp16
from vaultgpt.mirror.families import build
from vaultgpt.training.base_model import load_base
from vaultgpt.training.lora import load_adapter, merged, save_adapter


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_the_weights_judged_are_those_that_write(family: str, dtype: Dtype, tmp_path: Path) -> None:
    """Beside the engine's own logits; afterwards the base is the pristine one."""
    if dtype == "float16" and not multiplies_fp16():
        pytest.skip("this processor multiplies by no weights in fp16")
    folder = tiny.tiny_model(tmp_path / "base", family, hidden=64)
    base = load_base(folder, CPU)
    learner, adapter = random_adapter(base)
    out = tmp_path / "out"
    out.mkdir()
    learner.close()
    save_adapter(out, base, adapter, "tiny", None)
    adapter = load_adapter(out)
    before = {n: p.clone() for n, p in base.model.named_parameters()}
    with torch.no_grad(), merged(base, adapter, dtype):
        judged = base.logits(IDS, None)[0].float()
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert base.tied
    with torch.no_grad(), merged(base, adapter):
        exact = base.logits(IDS, None)[0]
    model = build(folder, out, dtype, torch.device("cpu"))
    written = model.peek(model.empty(), IDS[0].tolist(), 0)
    if dtype == "float32":
        torch.testing.assert_close(judged, written, atol=1e-3, rtol=1e-3)
        return
    off, lost = float((judged - exact).norm()), float((written - exact).norm())
    assert lost / 3 <= off <= 3 * lost
    assert lost > (1e-4 if dtype == "float16" else 1e-3) * float(exact.norm())


def test_a_round_is_judged_in_what_will_write(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A round for a mirror in float32; 2. the same for one in int8. Result: both say so, their
    figures differ a little, and the second takes no figure of the first's for its own.
    """
    monkeypatch.setattr(arithmetic, "SMALL", 0)
    first = run(make_job("exact", writing="float32", secret="ab" * 16))
    known = {"before": first.to_json()["segments"]}
    second = run(make_job("int8", writing="int8", secret="ab" * 16, known=known))
    assert (first.written_in, second.written_in) == ("float32", "int8")
    one, other = (r.segments["held_out"] for r in (first, second))
    assert not set(one.keys) & set(other.keys)
    for model in ("base", "after"):
        assert one.nats[model] != other.nats[model]
        assert sum(one.nats[model]) == pytest.approx(sum(other.nats[model]), rel=0.03)
