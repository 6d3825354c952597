"""The routes beside completions: shapes, events, metrics, OpenAPI, stopping."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.server.conftest import TOKEN, Api
from vaultgpt.daemon.telling import StepEvent
from vaultgpt.server.routes import ROUTES
from vaultgpt.server.visits import PATHS


async def test_the_reading_routes_answer_in_json(api: Api) -> None:
    assert (await api.get("/v1/status"))[1]["active"] == "g000001"
    assert (await api.get("/v1/tags"))[1] == {"tags": {"dream": 2}, "years": {"2019": 1}}
    assert (await api.get("/v1/generations"))[1]["generations"][0]["id"] == "g000001"
    models = (await api.get("/v1/models"))[1]
    assert [m["id"] for m in models["data"]] == ["mirror", "base", "g000001"]
    assert models["object"] == "list" and models["data"][2]["created"] == 1700000000


async def test_errors_have_openai_s_shape(api: Api) -> None:
    for status, body in [
        (await api.get("/v1/report"))[:2],
        (await api.get("/nowhere"))[:2],
        (await api.get("/v1/train"))[:2],
        (await api.post("/v1/status"))[:2],
    ]:
        assert status in (404, 405)
        assert set(body["error"]) == {"message", "type", "code", "param"}
    assert "POST" in (await api.get("/v1/train"))[2]["Allow"]


async def test_the_report_is_measured_only_when_asked_and_not_beside_a_round(api: Api) -> None:
    assert (await api.get("/v1/report?measure=0"))[0] == 404
    status, body, _ = await api.get("/v1/report?measure=1")
    assert (status, body["sentences"]) == (200, ["It reads well."])
    for query in ("measure=yes", "measure=1&measure=1", "measure="):
        status, body, _ = await api.get(f"/v1/report?{query}")
        assert (status, body["error"]["param"]) == (400, "measure")
    await api.post("/v1/train")
    assert (await api.get("/v1/report?measure=1"))[0] == 409


async def test_a_post_measures_the_report_as_the_old_query_does(api: Api) -> None:
    assert (await api.post("/v1/report"))[1] == (await api.get("/v1/report?measure=1"))[1]
    assert (await api.post("/v1/report", {"odd": 1}))[0] == 400
    await api.post("/v1/train")
    assert (await api.post("/v1/report"))[0] == 409


async def test_the_acting_routes(api: Api) -> None:
    assert (await api.post("/v1/train", {"fresh": True}))[:2] == (202, {"kind": "fresh"})
    status, body, _ = await api.post("/v1/train")
    assert (status, body["error"]["type"]) == (409, "conflict_error")
    assert (await api.post("/v1/train/cancel"))[0] == 200
    assert (await api.post("/v1/generations/g000002/activate"))[1] == {"active": "g000002"}
    for name in ("mirror", "..%2f..%2fx", "g1", "G000002"):
        assert (await api.post(f"/v1/generations/{name}/activate"))[0] == 404
    assert (await api.post("/v1/forget", {"path": "a.md"}))[0] == 200
    assert (await api.post("/v1/forget", {"path": "../a.md"}))[0] == 403
    assert (await api.post("/v1/reload"))[0] == 200
    assert (await api.post("/v1/reload", {"odd": 1}))[0] == 400


async def test_accepted_text_is_recorded(api: Api) -> None:
    assert (await api.post("/v1/accepted", {"text": "it rained", "path": "a.md"}))[0] == 200
    assert api.service.accepted == [("it rained", "a.md")]
    assert (await api.post("/v1/accepted", {"path": "a.md"}))[0] == 400


async def test_events_reach_a_listener_from_the_moment_its_answer_begins(api: Api) -> None:
    async with api.session.get(
        f"http://127.0.0.1:{api.port}/v1/events", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as stream:
        assert stream.content_type == "text/event-stream"
        api.service.broker.publish(StepEvent({"fraction": 0.5}))
        async with asyncio.timeout(2):
            lines = [await stream.content.readline() for _ in range(4)]
    assert b"event: progress\n" in lines
    assert json.loads(lines[-1].removeprefix(b"data: ")) == {"fraction": 0.5}
    async with asyncio.timeout(2):
        while len(api.service.broker):
            await asyncio.sleep(0.01)


async def test_a_silent_listener_is_reminded_and_a_slow_one_loses_the_oldest() -> None:
    from vaultgpt.server.events import _BACKLOG, Broker

    broker = Broker()
    with broker.subscribe() as listener:
        assert await anext(listener.events(0.01)) is None
        for number in range(_BACKLOG + 5):
            broker.publish(StepEvent({"step": number}))
        broker.close()
        seen = [event.data["step"] async for event in listener.events() if event]
    assert seen == list(range(5, _BACKLOG + 5))


async def test_metrics_are_prometheus_text_without_prose(api: Api) -> None:
    await api.post(
        "/v1/completions",
        {"prompt": "the secret orchard", "vaultgpt": {"title": "orchard", "path": "orchard.md"}},
    )
    await api.get("/v1/notes?path=orchard.md")
    await api.get("/orchard")
    status, text, headers = await api.get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'vaultgpt_requests_total{route="/v1/completions",status="200"} 1' in text
    assert "vaultgpt_tokens_total 5" in text and "vaultgpt_notes 3" in text
    assert 'vaultgpt_first_token_ms_bucket{le="25"} 1' in text and "orchard" not in text
    for line in text.strip().split("\n"):
        assert line.startswith("# TYPE ") or len(line.rsplit(" ", 1)) == 2


async def test_openapi_names_every_route_and_resolves(api: Api) -> None:
    document = (await api.get("/openapi.json"))[1]
    routes = {r.resource.canonical for r in api.runner.app.router.routes() if r.resource}
    assert set(document["paths"]) == routes - PATHS
    operations = {(p, m.upper()) for p, row in document["paths"].items() for m in row}
    assert operations == {(row.path, row.method) for row in ROUTES}
    for path, method in operations - {(p, "GET") for p in ("/v1/events", "/metrics")}:
        done = next(iter(document["paths"][path][method.lower()]["responses"].values()))
        assert done["content"]["application/json"]["schema"], path
    assert set(document["paths"]["/v1/train"]["post"]["responses"]) == {"202", "default"}
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    request = document["components"]["schemas"]["CompletionRequest"]["properties"]
    assert {
        "prompt",
        "suffix",
        "max_tokens",
        "temperature",
        "top_p",
        "n",
        "stop",
        "seed",
        "stream",
        "model",
        "vaultgpt",
    } <= set(request)


@pytest.mark.parametrize("stream", [True, False])
async def test_stopping_ends_generations_and_streams_at_once(api: Api, stream: bool) -> None:
    api.service.hold_after = asyncio.Event()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"http://127.0.0.1:{api.port}"
    listening = await api.session.get(f"{url}/v1/events", headers=headers)
    asked = asyncio.create_task(api.post("/v1/completions", {"prompt": "x", "stream": stream}))
    async with asyncio.timeout(5):
        while not api.service.prompts:
            await asyncio.sleep(0.005)
    began = time.monotonic()
    await api.runner.cleanup()
    assert time.monotonic() - began < 1.5
    assert api.service.ended.is_set()
    listening.close()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
