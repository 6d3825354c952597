"""Counters of the API in Prometheus' text format. Labels are routes and statuses, never prose.

Knows nothing about what is counted elsewhere; the daemon's gauges are handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

FIRST_TOKEN_BUCKETS_MS = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400)
CONTENT_TYPE = "text/plain; version=0.0.4"


class Metrics:
    """What the API has done since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.tokens = 0
        self.cancelled = 0
        self._first_token_ms: list[float] = [0.0] * (len(FIRST_TOKEN_BUCKETS_MS) + 1)
        self._first_token_sum = 0.0

    def request(self, route: str, status: int) -> None:
        """One answered request; `route` is the route's pattern."""
        self.requests[route, status] += 1

    def completion(self, tokens: int, first_token_ms: float) -> None:
        """One finished completion."""
        self.tokens += tokens
        self._first_token_sum += first_token_ms
        place = sum(first_token_ms > bound for bound in FIRST_TOKEN_BUCKETS_MS)
        self._first_token_ms[place] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """The whole page."""
        lines = ["# TYPE vaultgpt_requests_total counter"]
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'vaultgpt_requests_total{{route="{route}",status="{status}"}} {count}')
        lines += ["# TYPE vaultgpt_tokens_total counter", f"vaultgpt_tokens_total {self.tokens}",
                  "# TYPE vaultgpt_cancelled_total counter",
                  f"vaultgpt_cancelled_total {self.cancelled}", *self._histogram()]
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE vaultgpt_{name} gauge", f"vaultgpt_{name} {value:g}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, total, lines = "vaultgpt_first_token_ms", 0.0, []
        for bound, count in zip((*FIRST_TOKEN_BUCKETS_MS, "+Inf"), self._first_token_ms,
                                strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total:g}')
        return [f"# TYPE {name} histogram", *lines, f"{name}_sum {self._first_token_sum:g}",
                f"{name}_count {total:g}"]
