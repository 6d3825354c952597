"""Another engine draws the tokens: llama.cpp's own server, killed and back, and a double of vLLM.

The double speaks vLLM's documented protocol and is no vLLM: its text is our own decoder's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.mirror.conftest import SetRuns, engine_of, mild_adapter, never, write
from tests.mirror.llama_server import LlamaServer
from vaultgpt.corpus.words import norms
from vaultgpt.mirror import fingerprint, remote
from vaultgpt.mirror.copy_guard import NoRuns
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.fingerprint import Shelf, _agreed, _Fingerprint
from vaultgpt.mirror.openai_client import EngineAway, OpenAIClient
from vaultgpt.mirror.remote import RemoteEngine
from vaultgpt.settings import Mirror
from vaultgpt.training.lora import load_adapter
from vaultgpt.training.to_gguf import write_adapter, write_model
from vaultgpt.wire import Piece, Prompt, Sampling, Usage

GREEDY = Sampling(temperature=0, top_p=1, dry_multiplier=0, guard=False, heal=False)
TEXT = "I walked down to the river and"


@dataclass
class Voices:
    """A base that writes words, two voices of it, and the base as llama.cpp reads it."""

    base: Path
    gguf: Path
    folders: dict[str, Path] = field(default_factory=dict)

    def engine(
        self,
        address: str,
        place: Path,
        active: str | None = "g000001",
        **settings: Any,
    ) -> RemoteEngine:
        """A mirror whose settings name that address."""
        mirror = Mirror(
            device="cpu", dtype="float32", engine="openai", engine_url=address, **settings
        )
        engine = RemoteEngine(mirror, NoRuns(), place, Engine)
        engine.load(self.base)
        engine.activate(active, None, self.folders)
        return engine

    def loras(self, place: Path) -> list[Path]:
        """The voices' files as the mirror names them."""
        made = []
        place.mkdir(exist_ok=True)
        for generation, folder in self.folders.items():
            path = place / f"{Shelf(place).name(generation, folder, self.base)}.gguf"
            write_adapter(self.base, load_adapter(folder), path)
            made.append(path)
        return made


@pytest.fixture(scope="module")
def voices(tiny_writer: Path, tmp_path_factory: pytest.TempPathFactory) -> Voices:
    folder = tmp_path_factory.mktemp("voices")
    found = Voices(tiny_writer, folder / "base.gguf")
    write_model(found.base, None, found.gguf)
    for number in (1, 2):
        voice = mild_adapter(found.base, folder / f"g{number}", number)
        found.folders[f"g{number:06d}"] = voice
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "engine"


@pytest.fixture(scope="module")
def server(voices: Voices, place: Path, tmp_path_factory: Any) -> Iterator[LlamaServer]:
    """llama-server with both voices, which the mirror has not made itself."""
    elsewhere = tmp_path_factory.mktemp("loras")
    loras = []
    for path in voices.loras(place):
        loras.append(path.rename(elsewhere / path.name))
    with LlamaServer(voices.gguf, loras) as running:
        yield running


@pytest.fixture(scope="module")
def engine(voices: Voices, server: LlamaServer, place: Path) -> RemoteEngine:
    found = voices.engine(server.address, place)
    assert found.problem == ""
    return found


def ours(voices: Voices, prompt: Prompt, generation: str = "g000001") -> str:
    """What our own decoder writes."""
    own = engine_of(voices.base, dtype="float32")
    own.activate(generation, None, voices.folders)
    return write(own, prompt)[0][0]


# llama.cpp's own server ---------------------------------------------------------------------------


def test_it_writes_piece_by_piece_and_says_who_wrote(engine: RemoteEngine) -> None:
    prompt = Prompt("I walked along the", seed=3, max_tokens=40, length="tokens", n=2)
    texts, pieces, usage = write(engine, prompt)
    assert len(pieces) > 4 and texts[0] != texts[1] and all(map(str.strip, texts))
    assert [p.finish for p in pieces if p.finish] and usage.generation == "g000001"
    assert usage.engine == "openai" and usage.engine_problem == "" and usage.first_token_ms > 0
    assert write(engine, replace(prompt, seed=4))[0] != texts


@pytest.mark.parametrize("spaces", ["", " "], ids=["at a word's end", "after a space"])
def test_header_title_and_text_reach_it_as_they_reach_our_own_decoder(
    engine: RemoteEngine, voices: Voices, spaces: str
) -> None:
    """Result: without chance both write the same under tags, a year and a title."""
    told: dict[str, Any] = {
        "tags": ("dream",),
        "date": "2019",
        "title": "The harbour",
        "max_tokens": 24,
    }
    prompt = Prompt(TEXT + spaces, length="tokens", sampling=GREEDY, **told)
    text, _, usage = write(engine, prompt)
    assert usage.engine == "openai" and usage.cached_tokens >= 0
    if spaces:  # our own heals white space by tokens, so that only the beginning is compared
        assert not text[0][0].isspace()
    else:
        assert _agreed(ours(voices, prompt), text[0]) == 1.0
    warm = replace(prompt, sampling=Sampling(temperature=1.5, min_p=0.0), seed=3, max_tokens=60)
    bare = replace(warm, tags=(), date=None, title=None)
    assert write(engine, bare)[0] != write(engine, warm)[0]


def test_stop_strings_lengths_and_the_suffix_end_it(engine: RemoteEngine) -> None:
    whole = write(engine, Prompt(TEXT, seed=3, max_tokens=60, length="tokens"))[0][0]
    stop = whole[30:36]
    cut, pieces, _ = write(
        engine, Prompt(TEXT, seed=3, max_tokens=60, length="tokens", stop=(stop,))
    )
    assert cut[0] == whole[: whole.index(stop)].rstrip() and pieces[-1].finish == "stop"
    sentence = write(engine, Prompt(TEXT, seed=3, length="sentence"))[0][0]
    assert sentence.rstrip()[-1] in ".!?\"'”’)" and "\n\n" not in sentence
    suffix = whole[whole.index(" ", 40) + 1 :][:20]
    before = write(engine, Prompt(TEXT, seed=3, max_tokens=60, length="tokens", suffix=suffix))[0][
        0
    ]
    assert suffix[:12].strip() not in before
    short = write(engine, Prompt(TEXT, seed=3, max_tokens=5, length="tokens"))
    assert short[1][-1].finish == "length" and short[2].tokens <= 13
    clause = write(engine, Prompt(TEXT, seed=3, length="clause", sampling=Sampling(sure=0.02)))
    assert clause[2].sure and clause[2].sure[0] >= 0.02, "by the engine's own log probabilities"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_run_that_stands_in_the_vault_is_cut(
    voices: Voices, server: LlamaServer, place: Path, temperature: float
) -> None:
    """1. It writes a page. 2. The page is in the vault. Result: never 10 words of it in a row."""
    drawn = replace(GREEDY, temperature=temperature, top_p=0.9, guard=True)
    prompt = Prompt(TEXT, seed=3, max_tokens=60, length="tokens", sampling=drawn)
    free = voices.engine(server.address, place)
    texts = {seed: write(free, replace(prompt, seed=seed))[0][0] for seed in range(4)}
    seed = max(texts, key=lambda one: len(norms(texts[one])))
    assert len(norms(texts[seed])) > 14
    known = SetRuns([f"{TEXT}{text}" for text in texts.values()])
    guarded = voices.engine(server.address, place)
    guarded.runs = known
    text, _, usage = write(guarded, replace(prompt, seed=seed))
    assert usage.engine == "openai" and len(norms(text[0])) >= 3
    assert not known.has(norms(f"{TEXT}{text[0]}"))
    assert text[0].split()[0] == texts[seed].split()[0], "up to there it is what it was"


def test_a_cancelled_answer_frees_the_server(engine: RemoteEngine) -> None:
    heard: list[Piece] = []
    said = engine.generate(Prompt(TEXT, seed=3, max_tokens=900, length="page"), lambda: bool(heard))
    for item in said:
        if isinstance(item, Piece):
            heard.append(item)
    assert heard[-1].finish == "cancelled" and len(heard) < 4
    assert write(engine, Prompt(TEXT, max_tokens=5))[2].engine == "openai"


def test_what_needs_more_than_text_is_our_own_decoder_s(engine: RemoteEngine) -> None:
    for prompt in (
        Prompt(TEXT, max_tokens=8, sampling=Sampling(voice=0.5)),
        Prompt(TEXT, max_tokens=8, tags=("dream",), sampling=Sampling(tag_strength=1.5)),
        Prompt(TEXT, max_tokens=8, logprobs=1),
        Prompt(TEXT, max_tokens=8, model="base"),
    ):
        usage = write(engine, prompt)[2]
        assert usage.engine == "own" and usage.engine_problem == "" and engine.problem == ""


def test_warming_lets_it_read_the_prompt(engine: RemoteEngine, server: LlamaServer) -> None:
    ready = engine._serving
    assert ready is not None
    prompt = Prompt("The postman waited beside the cold river all afternoon, and", max_tokens=5)
    assert engine.warm(prompt, never) > 8
    asked = {"prompt": prompt.text, "max_tokens": 1, **ready.fields}
    usage = OpenAIClient(server.address).post("/v1/completions", asked)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 8


def test_another_voice_is_asked_for_by_its_own_file(
    voices: Voices, server: LlamaServer, tmp_path: Path
) -> None:
    """Result: each writes as itself, and of the voice before nothing is kept."""
    place = tmp_path / "engine"
    engine, texts = voices.engine(server.address, place, active=None), {}
    for generation in ("g000001", "g000002"):
        prompt = Prompt(TEXT, length="tokens", max_tokens=24, sampling=GREEDY)
        # As in the state's own folder: the names are of this vault.
        with LlamaServer(voices.gguf, voices.loras(tmp_path / "engine")) as both:
            engine = voices.engine(both.address, place, active=generation)
            assert engine.problem == ""
            text, _, usage = write(engine, prompt)
            assert (usage.engine, usage.generation) == ("openai", generation)
            texts[generation] = text[0]
            assert _agreed(ours(voices, prompt, generation), text[0]) == 1.0
        assert {generation} == {p.name.split("-")[2] for p in place.iterdir()}
    assert texts["g000001"] != texts["g000002"]


def test_an_engine_that_does_not_hold_the_voice_does_not_write(
    voices: Voices, tmp_path: Path
) -> None:
    """Result: the base alone is not the voice; our own writes, and what to load is told."""
    with LlamaServer(voices.gguf) as bare:
        engine = voices.engine(bare.address, tmp_path / "engine")
        assert "does not write as g000001 does" in engine.problem
        (file,) = (tmp_path / "engine").glob("*.gguf")
        assert f"--lora {file}" in engine.problem and file.stat().st_mode & 0o077 == 0
        text, _, usage = write(engine, Prompt(TEXT, seed=1, max_tokens=20))
        assert usage.engine == "own" and text[0].strip()


def test_an_engine_that_is_killed_midway_and_comes_back(
    voices: Voices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. It has written a part. 2. SIGKILL. 3. It is started again at its address, without the
    voice, then with it. Result: our own goes on from the very word, and writes until 3 is whole."""
    monkeypatch.setattr(remote, "_AGAIN_S", 0.0)
    place = tmp_path / "engine"
    prompt, usage, heard = Prompt(TEXT, seed=3, max_tokens=200, length="page"), None, ""
    for _ in range(5):  # a busy machine may hear all of it before the kill is through
        with LlamaServer(voices.gguf, voices.loras(place)) as server:
            engine, heard = voices.engine(server.address, place), ""
            for item in engine.generate(prompt, never):
                if isinstance(item, Usage):
                    usage = item
                    continue
                if not heard:
                    server.kill()
                heard += item.text
        if usage is not None and usage.engine == "own":
            break
    assert usage is not None and usage.engine == "own" and usage.generation == "g000001"
    assert len(heard.split()) > 30 and "  " not in heard
    assert "does not answer" in engine.problem or "broke off" in engine.problem
    assert write(engine, prompt)[2].engine == "own"
    with LlamaServer(voices.gguf, port=server.port):
        assert write(engine, prompt)[2].engine == "own", "another one stands at its address"
        assert "--lora" in engine.problem
    with LlamaServer(voices.gguf, voices.loras(place), server.port):
        assert write(engine, prompt)[2].engine == "openai" and engine.problem == ""


def test_a_voice_that_lies_in_the_embedding_too_is_served_whole(
    voices: Voices, tmp_path: Path
) -> None:
    whole = mild_adapter(voices.base, tmp_path / "whole", 7, embedding=True)
    mine = replace(voices, folders={"g000007": whole})
    write_model(voices.base, whole, tmp_path / "voice.gguf")
    with LlamaServer(tmp_path / "voice.gguf") as server:
        engine = mine.engine(server.address, tmp_path / "engine", active="g000007")
        assert engine.problem == "" and write(engine, Prompt(TEXT))[2].engine == "openai"
    with LlamaServer(voices.gguf, mine.loras(tmp_path / "engine")) as server:
        engine = mine.engine(server.address, tmp_path / "engine", active="g000007")
        assert "export DIR --gguf" in engine.problem


# A double of vLLM ---------------------------------------------------------------------------------


class Vllm(ThreadingHTTPServer):
    """vLLM's protocol: models with their length, adapters by name and path, streamed completions.

    `bodies` is what it was sent. It writes by our own decoder, without chance.
    """

    def __init__(self, voices: Voices, key: str = "") -> None:
        super().__init__(("127.0.0.1", 0), partial(_VllmAnswers))
        self.engine = engine_of(voices.base, dtype="float32")
        self.key, self.lock = key, threading.Lock()
        self.adapters: dict[str, Path] = {}
        self.bodies: list[dict[str, Any]] = []
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.breaks_after: int | None = None  # chunks

    def __enter__(self) -> Vllm:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *of: object) -> None:
        self.shutdown()
        self.server_close()

    def written(self, body: dict[str, Any]) -> Iterator[str]:
        """The answer's pieces. A name that it does not hold is an error of vLLM's too."""
        model = {"base-model": "base"}.get(body["model"], body["model"])
        prompt = Prompt(
            body["prompt"],
            model=model,
            length="tokens",
            max_tokens=body["max_tokens"],
            stop=tuple(body.get("stop") or ()),
            sampling=GREEDY,
        )
        with self.lock:
            self.engine.activate(None, None, self.adapters)
            for item in self.engine.generate(prompt, never):
                if isinstance(item, Piece) and item.text:
                    yield item.text


class _VllmAnswers(BaseHTTPRequestHandler):
    server: Vllm

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def answer(self, value: Any, status: int = 200) -> None:
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        names = ["base-model", *self.server.adapters]
        known = {"object": "list", "data": [{"id": n, "max_model_len": 256} for n in names]}
        if self.path == "/v1/models" and self.allowed():
            self.answer(known)
        elif self.path != "/v1/models":
            self.answer({"detail": "Not Found"}, 404)

    def allowed(self) -> bool:
        key = self.server.key
        if key and self.headers["Authorization"] != f"Bearer {key}":
            self.answer({"error": "Unauthorized"}, 401)
            return False
        return True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        if self.path == "/v1/load_lora_adapter":
            folder = Path(body["lora_path"])
            if not (folder / "adapter_config.json").is_file():
                self.answer({"error": {"message": "No adapter found", "code": 404}}, 404)
                return
            self.server.adapters[body["lora_name"]] = folder
            self.answer(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")
        elif self.path == "/v1/unload_lora_adapter":
            del self.server.adapters[body["lora_name"]]
            self.answer("Success")
        else:
            self.complete(body)

    def complete(self, body: dict[str, Any]) -> None:
        self.server.bodies.append(body)
        if not body.get("stream"):
            text = "".join(self.server.written(body))
            self.answer({"choices": [{"index": 0, "text": text, "finish_reason": "length"}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for count, text in enumerate(self.server.written(body)):
            if count == self.server.breaks_after:
                return
            told = {"tokens": [text], "token_logprobs": [-0.5]} if body.get("logprobs") else None
            self.event({"index": 0, "text": text, "logprobs": told, "finish_reason": None})
        self.event({"index": 0, "text": "", "logprobs": None, "finish_reason": "length"})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, choice: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        self.wfile.flush()


@pytest.fixture
def vllm(voices: Voices) -> Iterator[Vllm]:
    with Vllm(voices) as running:
        yield running


def test_vllm_loads_each_voice_under_a_name_of_its_own(
    voices: Voices, vllm: Vllm, tmp_path: Path
) -> None:
    """Result: the one that writes is loaded from the state's folder, the one before unloaded."""
    place = tmp_path / "engine"
    engine = voices.engine(vllm.address, place)
    (first,) = vllm.adapters
    assert engine.problem == "" and "g000001" in first
    files = {p.name for p in vllm.adapters[first].iterdir()}
    assert files == {"adapter_model.safetensors", "adapter_config.json"}
    prompt = Prompt(TEXT, max_tokens=16, length="tokens", sampling=GREEDY)
    text, _, usage = write(engine, prompt)
    assert usage.engine == "openai" and _agreed(ours(voices, prompt), text[0]) == 1.0
    engine.activate("g000002", None, voices.folders)
    (second,) = vllm.adapters
    assert engine.problem == "" and "g000002" in second
    assert {p.name.split("-")[2] for p in place.iterdir()} == {"g000002"}
    assert write(engine, prompt)[2].generation == "g000002"
    assert {b["model"] for b in vllm.bodies[-1:]} == {second}


def test_the_folder_may_have_another_name_on_the_engine_s_machine(
    voices: Voices, vllm: Vllm, tmp_path: Path
) -> None:
    (tmp_path / "there").symlink_to(tmp_path / "engine")
    engine = voices.engine(vllm.address, tmp_path / "engine", engine_voices=str(tmp_path / "there"))
    (folder,) = vllm.adapters.values()
    assert engine.problem == "" and folder.parent == tmp_path / "there"


def test_an_engine_that_can_t_find_the_voice_is_told_of(
    voices: Voices, vllm: Vllm, tmp_path: Path
) -> None:
    engine = voices.engine(vllm.address, tmp_path / "engine", engine_voices="/nowhere")
    assert "does not write as g000001 does" in engine.problem and not vllm.adapters
    assert write(engine, Prompt(TEXT, max_tokens=8))[2].engine == "own"


def test_no_word_of_the_author_s_and_no_secret_is_sent_before_or_beside_the_text(
    voices: Voices, vllm: Vllm, tmp_path: Path
) -> None:
    """Result: openings of ours until the fingerprint agrees; then the text, its numbers left out,
    and nothing to an address that never showed the voice."""
    secret = "Ring me at +44 20 7946 0958 or anna.b@example.org, she said, and then we"
    stranger = voices.engine(vllm.address, tmp_path / "engine", engine_voices="/nowhere")
    write(stranger, Prompt(secret, max_tokens=8))
    assert "Ring me" not in json.dumps(vllm.bodies)
    write(voices.engine(vllm.address, tmp_path / "engine"), Prompt(secret, max_tokens=8))
    sent = json.dumps(vllm.bodies)
    assert "Ring me at" in sent and "and then we" in sent
    assert "7946" not in sent and "example.org" not in sent


def test_a_key_is_read_from_its_file_and_sent(voices: Voices, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-abc\n")
    with Vllm(voices, key="sk-abc") as vllm:
        without = voices.engine(vllm.address, tmp_path / "engine")
        assert "status 401" in without.problem
        path = str(tmp_path / "key")
        engine = voices.engine(vllm.address + "/v1", tmp_path / "engine", engine_key_file=path)
        greedy = Prompt(TEXT, max_tokens=8, length="tokens", sampling=GREEDY)
        assert engine.problem == "" and write(engine, greedy)[2].engine == "openai"


def test_an_answer_that_breaks_off_is_gone_on_with_at_once(
    voices: Voices, vllm: Vllm, tmp_path: Path
) -> None:
    engine = voices.engine(vllm.address, tmp_path / "engine")
    vllm.breaks_after = 6
    prompt = Prompt(TEXT, max_tokens=30, length="tokens", sampling=GREEDY)
    text, pieces, usage = write(engine, prompt)
    assert usage.engine == "own" and "broke off" in engine.problem
    assert len(text[0].split()) > 10 and pieces[-1].finish == "length"
    assert _agreed(ours(voices, prompt), text[0]) > 0.9, "the same words, whoever wrote them"


# The fingerprint ----------------------------------------------------------------------------------


def test_texts_agree_up_to_their_first_difference() -> None:
    assert _agreed("the river ran", " the river ran") == 1.0
    assert _agreed("the river ran", "the river rose and rose") == pytest.approx(11 / 13)
    assert _agreed("the river", "a river") == 0.0
    assert _agreed("caf\u00e9", "caf\u00e9\ufffd") == 1.0 and _agreed("", "a") == 0.0


def test_who_is_nearer_to_the_base_than_to_the_voice_is_not_the_voice() -> None:
    found = _Fingerprint(voice=("we went home",), base=("we went away",))
    assert found.of(["we went home"]) == 1.0
    assert found.of(["we went away"]) == 0.0 and found.of(["nothing"]) == 0.0
    assert found.of(["we went hither"]) > 0.5


def test_what_is_no_completions_server_is_away() -> None:
    with pytest.raises(EngineAway, match="does not answer"):
        OpenAIClient("http://127.0.0.1:1").models()
    with pytest.raises(EngineAway, match="does not answer"):
        OpenAIClient("http://127.0.0.1:notaport").models()


def test_the_voice_s_own_text_is_made_once(tmp_path: Path) -> None:
    asked: list[Prompt] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt)
        return prompt.model

    place = Shelf(tmp_path / "engine")
    place.tidy("voice")
    first = place.own("voice", answer)
    count = len(asked)
    assert first == place.own("voice", answer) and len(asked) == count
    assert set(first.voice) == {"mirror"} and set(first.base) == {"base"}
    assert count == 2 * len(fingerprint._PROMPTS)


def test_the_wheel_is_llama_cpp_s_own_server(server: LlamaServer) -> None:
    told: Callable[[str], Any] = OpenAIClient(server.address).get
    assert told("/props")["default_generation_settings"]["n_ctx"] == 256
    assert len(told("/lora-adapters")) == 2
