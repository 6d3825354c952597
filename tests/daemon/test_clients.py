"""The completions API as clients use it: the real libraries against the real daemon.

openai and langchain-openai come with the `test` extra (111 MB and a minute together); litellm does
not (356 MB, of which boto3 and its like are most), so it is tried where it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon.serving import Serving
from vaultgpt.settings import save_option
from vaultgpt.state import VaultState

PROMPTS = ["I walked along the river", "Last night I"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Any) -> Iterator[VaultState]:
    from tests import tiny
    from vaultgpt.state import create_state

    place = tmp_path_factory.mktemp("clients")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAULTGPT_HOME", str(place / "home"))
        tiny.tiny_vault(place / "vault", notes=12, words=1_000)
        found = create_state(place / "vault")
        options = {"base": str(tiny_llama), "mirror.threads": 1, "training.pause": True}
        for key, value in options.items():
            save_option(found.config, key, value)
        yield found


@pytest.fixture(scope="module")
def daemon(state: VaultState) -> Iterator[Serving]:
    with Serving(state) as serving:
        yield serving


@pytest.fixture
def url(daemon: Serving) -> str:
    return f"http://127.0.0.1:{daemon.client.port}/v1"


@pytest.fixture
def client(daemon: Serving, url: str) -> Any:
    openai = pytest.importorskip("openai", reason="of the test extra")
    return openai.OpenAI(base_url=url, api_key=daemon.client.token, max_retries=0, timeout=120)


def test_openai_s_client_takes_whole_answers_of_several_prompts(client: Any) -> None:
    answer = client.completions.create(
        model="mirror",
        prompt=PROMPTS,
        n=2,
        max_tokens=6,
        seed=-1,
        stop=[f"stop {i}" for i in range(64)],
        logprobs=2,
        echo=True,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    for choice in answer.choices:
        prompt = PROMPTS[choice.index // 2]
        told = choice.logprobs
        assert choice.text.startswith(prompt) and choice.finish_reason in ("stop", "length")
        assert "".join(told.tokens) == choice.text and len(told.text_offset) == len(told.tokens)
        assert all(one <= 0 for one in told.token_logprobs)
        assert all(2 <= len(top) <= 3 for top in told.top_logprobs)
        placed = zip(told.text_offset, told.tokens, strict=True)
        assert all(choice.text[at:].startswith(token) for at, token in placed)
    usage = answer.usage
    assert 0 < usage.completion_tokens <= 4 * (6 + 8)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_openai_s_client_streams_with_and_without_usage(client: Any) -> None:
    asked = {"model": "mirror", "prompt": PROMPTS[0], "max_tokens": 8, "temperature": 0}
    plain = list(client.completions.create(**asked, stream=True))
    told = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    whole = client.completions.create(**asked)
    text = "".join(part.choices[0].text for part in plain)
    assert text == "".join(c.text for part in told for c in part.choices) == whole.choices[0].text
    assert all(part.usage is None for part in [*plain, *told[:-1]])
    assert told[-1].choices == [] and told[-1].usage == whole.usage.model_copy(
        update={"prompt_tokens_details": told[-1].usage.prompt_tokens_details}
    )


def test_openai_s_client_scores_a_prompt_and_takes_the_best_of_several(client: Any) -> None:
    scored = client.completions.create(
        model="mirror", prompt=PROMPTS[0], max_tokens=0, echo=True, logprobs=0
    )
    assert scored.choices[0].text == PROMPTS[0] and scored.usage.completion_tokens == 0
    assert len(scored.choices[0].logprobs.tokens) == scored.usage.prompt_tokens - 1
    asked = {"model": "mirror", "prompt": PROMPTS[0], "max_tokens": 5, "seed": 4, "logprobs": 0}
    every = client.completions.create(**asked, n=4)
    best = client.completions.create(**asked, best_of=4)

    def mean(choice: Any) -> float:
        figures = choice.logprobs.token_logprobs
        return sum(figures) / len(figures) if figures else float("-inf")

    assert len(best.choices) == 1
    assert best.choices[0].text == max(every.choices, key=mean).text


def test_openai_s_client_finds_models_and_hears_what_is_wrong(client: Any) -> None:
    openai = pytest.importorskip("openai", reason="of the test extra")

    assert client.models.retrieve("mirror").id == "mirror"
    assert {"mirror", "base"} <= {model.id for model in client.models.list()}
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")
    with pytest.raises(openai.BadRequestError, match="at most 64"):
        client.completions.create(model="mirror", prompt="I", stop=["x"] * 65)


def test_langchain_s_client_writes_streams_and_batches(daemon: Serving, url: str) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="of the test extra")
    llm = langchain.OpenAI(
        model="mirror", base_url=url, api_key=daemon.client.token, max_tokens=6, temperature=0
    )
    whole = llm.invoke(PROMPTS[0])
    assert isinstance(whole, str) and whole
    assert "".join(llm.stream(PROMPTS[0])) == whole
    several = llm.generate(PROMPTS)
    assert [len(of) for of in several.generations] == [1, 1]
    assert several.generations[0][0].text == whole
    assert several.llm_output["token_usage"]["total_tokens"] > 0
    best = langchain.OpenAI(
        model="mirror", base_url=url, api_key=daemon.client.token, max_tokens=4, n=2, best_of=3
    )
    assert len(best.generate([PROMPTS[0]]).generations[0]) == 2


def test_litellm_writes_and_streams(
    daemon: Serving, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it fetches its prices else
    litellm = pytest.importorskip("litellm", reason="356 MB: not in the test extra")
    asked = {
        "model": "text-completion-openai/mirror",
        "api_base": url,
        "api_key": daemon.client.token,
        "max_tokens": 6,
        "temperature": 0,
    }
    whole = litellm.text_completion(prompt=PROMPTS[0], **asked)
    assert whole.choices[0].text and whole.usage.completion_tokens > 0
    parts = list(litellm.text_completion(prompt=PROMPTS[0], stream=True, **asked))
    assert "".join(part.choices[0].text or "" for part in parts) == whole.choices[0].text
    several = litellm.text_completion(prompt=PROMPTS, **asked)
    assert several.choices[0].text == whole.choices[0].text
    assert len(several.choices) == 2
