"""Speed of writing beside llama.cpp and transformers, on the same weights in one run.

python benchmarks/decode.py [--base FOLDER] [--voice FOLDER] [--gguf FILE] [--json FILE] ...
Without --base: the embedded base. --gguf is the file that the base was expanded from: llama.cpp
(pip install xllamacpp gguf) reads it requantised to Q8_0. Each engine has its own process, since
the threads of several in one wait for each other's. Contenders take turns, and each figure is the
best of --runs, since other programs only ever slow them down.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from vaultgpt.arithmetic import choose_device
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.settings import Mirror
from vaultgpt.wire import Prompt, Sampling, Usage

ROOT = Path(__file__).resolve().parents[1]
FULL = Sampling(guard=True)
GREEDY = Sampling(temperature=0, dry_multiplier=0, guard=False, heal=False)
JOURNAL = ROOT / "examples" / "vault" / "Journal"


@dataclass(frozen=True)
class Figures:
    """Of one run: milliseconds to the first token, tokens a second after it of one sequence."""

    first_ms: float
    per_s: float


Contender = Callable[[], Figures]


def journal() -> str:
    """The example vault's journal without front matter; a text that repeats itself ends at once."""
    notes = (path.read_text(encoding="utf-8") for path in sorted(JOURNAL.rglob("*.md")))
    return "\n\n".join(note.rpartition("\n---\n")[2].strip() for note in notes)


def ours(engine: Engine, prompt: Prompt, *, cold: bool = True) -> Figures:
    """One answer, from an empty prefix cache or from the one that the last answer left."""
    if cold:
        engine.prefixes.clear()
    usage = None
    for said in engine.generate(prompt, lambda: False):
        usage = said if isinstance(said, Usage) else usage
    assert usage is not None
    return Figures(usage.first_token_ms, usage.tokens_per_s or 0.0)


def prompt_ids(base: Path, count: int) -> list[int]:
    """The first tokens of the journal, without the base's start."""
    return Vocabulary.load(base).encode(journal())[:count]


def our_contenders(args: argparse.Namespace, scratch: Path, /) -> dict[str, Contender]:
    """Every line of ours by name."""
    found: dict[str, Contender] = {}
    index = RunIndex(scratch / "runs", b"benchmark key 16")
    index.add([journal()])
    for dtype in args.dtypes.split(","):
        engine = Engine(Mirror(device=args.device, dtype=dtype), index.load())
        engine.load(args.base)
        if args.voice:
            engine.activate("voice", args.voice)
        ids = prompt_ids(args.base, args.prompt)
        text = engine.vocabulary.bytes_of(ids).decode("utf-8", "ignore")
        prompt = Prompt(text=text, length="tokens", max_tokens=args.tokens, seed=1, sampling=FULL)
        cost = "" if engine.cost is None else f" ({100 * engine.cost:.2f} % from fp32)"
        name = f"vaultgpt {engine.dtype}{cost}: "
        plans = {
            "greedy": replace(prompt, sampling=GREEDY),
            "as it writes": prompt,
            "as it writes, n = 4": replace(prompt, n=4),
        }
        for what, plan in plans.items():
            found[name + what] = lambda engine=engine, plan=plan: ours(engine, plan)  # type: ignore[misc]
        hit = replace(prompt, max_tokens=8)
        found[name + "prefix hit"] = lambda engine=engine, hit=hit: ours(engine, hit, cold=False)  # type: ignore[misc]
    return found


def transformers_contender(
    base: Path,
    voice: Path | None,
    ids: list[int],
    tokens: int,
    dtype: torch.dtype,
    device: str = "cpu",
    static: bool = False,
) -> Contender:
    """transformers.generate, greedy and cached, the adapter attached as peft does.

    `static`: its cache of one size, for which it compiles and, on CUDA, captures graphs.
    """
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    if voice:
        from peft import PeftModel

        net = PeftModel.from_pretrained(net, str(voice))
    net.train(False).to(device)
    given = torch.tensor([ids], device=device)
    more: dict[str, Any] = {"cache_implementation": "static"} if static else {}

    def generate(count: int) -> float:
        begin = time.perf_counter()
        net.generate(
            input_ids=given,
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            attention_mask=torch.ones_like(given),
            **more,
        )
        return time.perf_counter() - begin

    def run() -> Figures:
        first = generate(1)
        return Figures(first * 1000, (tokens - 1) / (generate(tokens) - first))

    return run


def requantise(source: Path, target: Path) -> None:
    """The same model with every matrix in Q8_0."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = 7 if key == "general.file_type" else field.contents()
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], inner)
    q8 = GGMLQuantizationType.Q8_0
    for tensor in reader.tensors:
        exact = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if len(tensor.shape) == 2 and tensor.shape[0] % 32 == 0:
            writer.add_tensor(tensor.name, quants.quantize(exact, q8), raw_dtype=q8)
        else:
            writer.add_tensor(tensor.name, exact)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_contender(file: Path, ids: list[int], tokens: int, threads: int) -> Contender:
    """llama.cpp's server, greedy, its own timings; a prompt of the same tokens, never cached."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 1024, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_prompt, params.ui, params.port, params.verbosity = False, False, 0, 0
    server = xllamacpp.Server(params)
    asked = {
        "prompt": ids,
        "n_predict": tokens,
        "temperature": 0,
        "cache_prompt": False,
        "ignore_eos": True,
    }

    def run() -> Figures:
        request = urllib.request.Request(
            server.listening_address + "/completion",
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            timings = json.loads(answer.read())["timings"]
        return Figures(timings["prompt_ms"], timings["predicted_per_second"])

    return run


def llama_cpp_requantised(args: argparse.Namespace, scratch: Path, /) -> dict[str, Contender]:
    """The same bits a number as ours."""
    requantise(args.gguf, scratch / "q8_0.gguf")
    return _llama_cpp("Q8_0", scratch / "q8_0.gguf", args)


def llama_cpp_as_given(args: argparse.Namespace, _: Path, /) -> dict[str, Contender]:
    """The file that the base was expanded from."""
    return _llama_cpp("as given", args.gguf, args)


def _llama_cpp(name: str, file: Path, args: argparse.Namespace) -> dict[str, Contender]:
    ids = [Vocabulary.load(args.base).start, *prompt_ids(args.base, args.prompt)]
    run = llama_cpp_contender(file, ids, args.tokens, args.threads)
    return {f"llama.cpp {name}: greedy": run}


def transformers_contenders(args: argparse.Namespace, _: Path, /) -> dict[str, Contender]:
    """In each dtype; on CUDA with its static cache too."""
    found = {}
    ids = [Vocabulary.load(args.base).start, *prompt_ids(args.base, args.prompt)]
    where = choose_device(args.device).type
    for dtype in [getattr(torch, name) for name in args.transformers.split(",") if name]:
        name = f"transformers {str(dtype).removeprefix('torch.')}"
        name += ", adapter attached" if args.voice else ""
        for static in (False, True) if where == "cuda" else (False,):
            found[name + (", static cache" if static else "") + ": greedy"] = (
                transformers_contender(
                    args.base, args.voice, ids, args.tokens, dtype, where, static
                )
            )
    return found


Engines = Callable[[argparse.Namespace, Path], dict[str, Contender]]


def _serve(make: Engines, args: argparse.Namespace, scratch: Path, pipe: Connection) -> None:
    """In a process of its own: names first, then the figures of whichever is asked for."""
    torch.set_num_threads(args.threads)
    contenders = make(args, scratch)
    pipe.send(list(contenders))
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(contenders[pipe.recv()]())
    sys.stdout.flush()
    os._exit(0)  # llama.cpp's server has threads that do not end


@contextlib.contextmanager
def _elsewhere(
    make: Engines, args: argparse.Namespace, scratch: Path
) -> Iterator[dict[str, Contender]]:
    """The contenders of an engine, each run in that engine's process."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(make, args, scratch, there))
    process.start()
    there.close()

    def ask(name: str) -> Figures:
        here.send(name)
        figures: Figures = here.recv()
        return figures

    try:
        names: list[str] = here.recv()
        yield {name: lambda name=name: ask(name) for name in names}  # type: ignore[misc]
    finally:
        here.close()
        process.join()


def race(contenders: dict[str, Contender], runs: int) -> dict[str, Figures]:
    """Each one's best figures, all taking turns."""
    rows: dict[str, list[Figures]] = {name: [] for name in contenders}
    for turn in range(runs + 1):
        for name, run in contenders.items():
            figures = run()
            if turn:  # the first one warms up
                rows[name].append(figures)
    return {
        name: Figures(min(f.first_ms for f in found), max(f.per_s for f in found))
        for name, found in rows.items()
    }


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, Figures]:
    """Every line of the table."""
    engines: list[Engines] = [our_contenders]
    engines += [llama_cpp_requantised, llama_cpp_as_given] if args.gguf else []
    engines += [transformers_contenders] if args.transformers else []
    with contextlib.ExitStack() as stack:
        contenders: dict[str, Contender] = {}
        for make in engines:
            contenders |= stack.enter_context(_elsewhere(make, args, scratch))
        return race(contenders, args.runs)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", type=Path, default=ROOT / "vaultgpt" / "pebble")
    parser.add_argument("--voice", type=Path, help="a generation's folder")
    parser.add_argument("--gguf", type=Path, help="the base as GGUF, for llama.cpp")
    parser.add_argument("--dtypes", default="auto", help="comma-separated: auto,float32,int8,...")
    parser.add_argument("--transformers", default="bfloat16", help='comma-separated, "" for none')
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=128, help="tokens written")
    parser.add_argument("--prompt", type=int, default=300, help="tokens of the prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    print(f"{'':56} {'tokens/s':>9} {'first ms':>9}   prompt {args.prompt}, {args.threads} threads")
    for name, row in rows.items():
        print(f"{name:56} {row.per_s:9.1f} {row.first_ms:9.1f}")
    if args.json:
        told = {name: {"tokens_per_s": r.per_s, "first_ms": r.first_ms} for name, r in rows.items()}
        figures = {"prompt": args.prompt, "threads": args.threads, "rows": told}
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
