"""`vaultgpt train [--fresh | --give-up]`: one round now, by the daemon when one runs."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultgpt.commands.common import (
    ChangesOption,
    JsonOption,
    VaultArgument,
    VaultOption,
    command,
    locate,
    out,
    print_json,
    progress,
    show_on,
)
from vaultgpt.errors import UsageError
from vaultgpt.report.sentences import gain_sentence
from vaultgpt.rounds.outcome import RoundAnswer
from vaultgpt.tasks.train import GIVE_UP
from vaultgpt.tasks.train import train as train_round
from vaultgpt.tasks.vault_service import vault_service
from vaultgpt.workers.elsewhere import Lender


@command("Learn")
def train(
    vault_argument: VaultArgument = None,
    vault: VaultOption = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Learn the whole vault anew from the base rather than only what is new."
        ),
    ] = False,
    host: Annotated[
        str | None,
        typer.Option("--on", metavar="HOST", help="Learn on another machine, by ssh."),
    ] = None,
    program: Annotated[
        str, typer.Option("--program", help="With --on: the command that is vaultgpt there.")
    ] = "vaultgpt",
    give_up: Annotated[
        bool,
        typer.Option(
            "--give-up", help="Give up a round that is paused, and erase its text; learn nothing."
        ),
    ] = False,
    changes: ChangesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn now. A voice that is not shown to be as good as the last is not used."""
    state = locate(vault or vault_argument)
    if give_up:
        if fresh or host:
            raise UsageError("--give-up goes with neither --fresh nor --on.")
        ended = vault_service(state, changes or ()).ask(GIVE_UP, None)
        print_json(ended) if as_json else out.print(ended["why"], markup=False)
        return
    machine = Lender(host, program) if host else None
    service = vault_service(state, changes or (), here=machine is not None)
    with progress() as bar:
        answer = train_round(service, fresh, show_on(bar), machine)
    if as_json:
        print_json(answer)
    else:
        for sentence in round_sentences(answer):
            out.print(sentence, markup=False)


def round_sentences(answer: RoundAnswer) -> list[str]:
    """The outcome of one round (CONTRACT's `train`), a sentence a line."""
    why = answer["verdict"]["why"]
    if answer["kind"] == "none":
        return [why]
    kind = "A fresh round" if answer["kind"] == "fresh" else "An incremental round"
    word = "It writes from now on" if answer["verdict"]["promoted"] else "The old voice stays"
    return [*_figures(kind, answer), f"{word}: {why}"]


def _figures(kind: str, answer: RoundAnswer) -> list[str]:
    if (report := answer["report"]) is None:
        return []
    bits, machine = report["bits_per_byte"], report["learning"].get("machine")
    where = f", on {machine}" if machine else ""
    lines = [
        f"{kind}: {report['tokens']:,} tokens in {report['seconds']:.0f} s "
        f"({report['tokens_per_s']:,.0f} tokens/s on {report['device']}{where})."
    ]
    if sentence := gain_sentence(bits["held_out"], bits["held_out_base"]):
        lines.append(sentence)
    if bits["new_notes"] and bits["new_notes_before"]:
        lines.append(
            f"New entries it did not learn from: {bits['new_notes_before']:.3f} -> "
            f"{bits['new_notes']:.3f} bits per byte."
        )
    if bits["general"] and bits["general_base"]:
        lines.append(
            f"Plain English: {bits['general_base']:.3f} -> {bits['general']:.3f} bits per byte."
        )
    return lines
