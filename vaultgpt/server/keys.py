"""Where the application keeps what its handlers share. Knows nothing about the handlers."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from vaultgpt.server.metrics import Metrics
from vaultgpt.server.service import Service

SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
WRITING: web.AppKey[set[asyncio.Task[Any]]] = web.AppKey("writing", set)
