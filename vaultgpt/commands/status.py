"""`vaultgpt status`: what it knows and what is next."""

from __future__ import annotations

import time

from vaultgpt.commands.common import (
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    many,
    out,
    print_json,
)
from vaultgpt.rounds.under_way import how_far
from vaultgpt.tasks.status import STATUS, Status, first_step
from vaultgpt.tasks.vault_service import vault_service


@command("Write")
def status(
    vault_argument: VaultArgument = None, vault: VaultOption = None, as_json: JsonOption = False
) -> None:
    """Say what is known of the vault, what writes now, and when it learns next."""
    answer = vault_service(locate(vault or vault_argument)).ask(STATUS, None)
    if as_json:
        print_json(answer)
        return
    for line in _lines(answer):
        out.print(line, markup=False)


def _arithmetic(dtype: str, cost: float | None) -> str:
    if cost is None:
        return dtype
    if cost < 0.00005:
        return f"{dtype}, as well foretold as in fp32"
    return f"{dtype} ({100 * cost:.2f} % more nats than in fp32)"


def _ago(seconds: float) -> str:
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{many(int(seconds // size), word)} ago"
    return "just now"


def _as_of(s: Status, now: float) -> str:
    """How old the figures are, where that is a minute or more."""
    age = now - s["as_of"] if s["as_of"] else 0.0
    return f", as of {_ago(age)}" if age >= 60 else ""


def _paused(fraction: float, left_s: float) -> str:
    """How far a paused round is, what waits for it, and the two ways to an end."""
    from vaultgpt.bases.estimate import human  # with all that knows of bases: 20 ms

    return (
        f"A full round is paused with {100 * fraction:.0f} % done and {human(left_s)} to go; what "
        "you wrote since it began is learned after it. `vaultgpt train` goes on with it now, "
        "`vaultgpt train --give-up` gives it up."
    )


def _writer(s: Status) -> str:
    """Which voice writes, and on which base it was learned."""
    base = s["writes_on"]
    if s["writes"] is None:
        return f"Writes as {base} itself, which has learned nothing of yours."
    return f"Writes as {s['writes']} on {base}."


def _lines(s: Status) -> list[str]:
    new, now = s["pending_notes"], time.time()
    lines = [
        f"{many(s['notes'], 'note')}, {many(s['words'], 'word')}; "
        f"{many(new, 'note')} {'is' if new == 1 else 'are'} new{_as_of(s, now)}.",
        _writer(s),
    ]
    if s["daemon"]:
        lines.append(f"The daemon runs (process {s['daemon']['pid']}).")
    else:
        lines.append("No daemon runs, so nothing is learned by itself.")
    worker, device = s["worker"], s["device"]
    if worker and device:
        how = f" in {_arithmetic(worker['dtype'], worker['cost'])}" if worker["dtype"] else ""
        lines.append(f"Writes{how}{'' if device == 'cpu' else f' on {device}'}.")
    if s["last_learned"]:
        lines.append(f"Last learned {_ago(now - s['last_learned'])}.")
    if s["training"]:
        lines.append(f"A round is under way: {how_far(s['training'])}.")
    if waits := s["paused_round"]:
        lines.append(_paused(waits["fraction"], waits["left_s"]))
    when, why = s["next_training"]["when"], s["next_training"]["why"]
    why = f"{why[:1].upper()}{why[1:]}{'' if why.endswith('.') else '.'}" if why else ""
    if when:
        lines.append(f"Learns next: {time.strftime('%a %H:%M', time.localtime(when))}. {why}")
    elif why and not s["training"] and why != s["paused"] and not s["silenced"]:
        lines.append(why)
    if s["last_verdict"]:
        lines.append(f"Last round: {s['last_verdict']['why']}")
    if s["paused"]:
        lines.append(f"Learning is paused: {s['paused']}")
    lines += [f"Problem: {p}" for p in s["problems"]]
    if step := first_step(s):
        lines.append(f"Next step: {step}")
    return lines
