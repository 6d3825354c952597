"""Speed of writing beside llama.cpp, transformers and vLLM, on the same weights in one run.

python -m benchmarks.decode [--base FOLDER] [--voice FOLDER] [--gguf FILE] [--json FILE] ...
Without --base: the embedded base. --gguf is the file that the base was expanded from: llama.cpp
(pip install xllamacpp gguf) reads it requantised to Q8_0. Each engine has its own process, since
the threads of several wait for each other's; they take turns, each figure is the best of --runs.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib.util
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import EXAMPLE, PEBBLE, arguments, keep, markdown, prose
from benchmarks.voice.mirrors import write
from vaultgpt.arithmetic import choose_device
from vaultgpt.corpus.runs import RunIndex
from vaultgpt.mirror.engine import Engine
from vaultgpt.mirror.vocabulary import Vocabulary
from vaultgpt.settings import Mirror
from vaultgpt.wire import Prompt, Sampling

JOURNAL = prose(EXAMPLE / "Journal")  # a text that repeats itself would end at once
GREEDY = Sampling(temperature=0, dry_multiplier=0, guard=False, heal=False)


@dataclass(frozen=True)
class Figures:
    """Of one run: milliseconds to the first token, tokens a second after it of one sequence."""

    first_ms: float
    tokens_per_s: float


Contenders = dict[str, Callable[[], Figures]]


def answer(engine: Engine, prompt: Prompt, *, cold: bool = True) -> Figures:
    """One answer, from an empty prefix cache or from the one that the last answer left."""
    if cold:
        engine.prefixes.clear()
    _, usage = write(engine, prompt)
    return Figures(usage.first_token_ms, usage.tokens_per_s or 0.0)


def prompt_ids(args: argparse.Namespace) -> list[int]:
    """The journal's first tokens after the base's start."""
    vocabulary = Vocabulary.load(args.base)
    return [vocabulary.start, *vocabulary.encode("\n\n".join(JOURNAL))[: args.prompt]]


def ours(args: argparse.Namespace, scratch: Path, /) -> Contenders:
    """Every line of ours by name; on CUDA with captured steps, and with steps op by op."""
    found: Contenders = {}
    index = RunIndex(scratch / "runs", b"benchmark key 16")
    index.add(JOURNAL)
    on_cuda = choose_device(args.device).type == "cuda"
    for dtype, graphs in product(args.dtypes.split(","), (True, False) if on_cuda else (False,)):
        engine = Engine(Mirror(device=args.device, dtype=dtype, cuda_graphs=graphs), index.load())
        engine.load(args.base)
        if args.voice:
            engine.activate("voice", args.voice)
        text = engine.vocabulary.bytes_of(prompt_ids(args)[1:]).decode("utf-8", "ignore")
        prompt = Prompt(text=text, length="tokens", max_tokens=args.tokens, seed=1)
        cost = "" if engine.cost is None else f" ({100 * engine.cost:.2f} % from fp32)"
        way = _way(engine, prompt, graphs) if on_cuda else ""
        name = f"vaultgpt {engine.dtype}{cost}{way}: "
        found[name + "greedy"] = partial(answer, engine, replace(prompt, sampling=GREEDY))
        found[name + "as it writes"] = partial(answer, engine, prompt)
        found[name + "as it writes, n = 4"] = partial(answer, engine, replace(prompt, n=4))
        hit = replace(prompt, max_tokens=8)
        found[name + "prefix hit"] = partial(answer, engine, hit, cold=False)
    return found


def _way(engine: Engine, prompt: Prompt, graphs: bool) -> str:
    """How its steps are started, told after it has written."""
    if not graphs:
        return ", op by op"
    answer(engine, prompt)
    return f", op by op since {engine.slow}" if engine.slow else ", CUDA graphs"


def transformers(args: argparse.Namespace, _: Path, /) -> Contenders:
    """transformers.generate, greedy, in each dtype, the adapter attached as peft does.

    On CUDA with its cache of one size too, for which it compiles and captures graphs.
    """
    from transformers import AutoModelForCausalLM

    found: Contenders = {}
    where = choose_device(args.device).type
    given = torch.tensor([prompt_ids(args)], device=where)
    for dtype in args.transformers.split(","):
        net: Any = AutoModelForCausalLM.from_pretrained(args.base, dtype=getattr(torch, dtype))
        name = f"transformers {dtype}"
        if args.voice:
            from peft import PeftModel

            net, name = PeftModel.from_pretrained(net, str(args.voice)), f"{name}, adapter attached"
        net.train(False).to(where)
        for cache in (None, "static") if where == "cuda" else (None,):
            write = partial(_generate, net, given, cache)
            told = f"{name}, {cache} cache" if cache else name
            found[f"{told}: greedy"] = partial(_timed, write, args.tokens)
    return found


def _generate(net: Any, given: torch.Tensor, cache: str | None, tokens: int) -> None:
    plain = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    mask = torch.ones_like(given)
    net.generate(
        given, attention_mask=mask, max_new_tokens=tokens, cache_implementation=cache, **plain
    ).cpu()


def _timed(write: Callable[[int], None], tokens: int) -> Figures:
    """Of one that tells no times: one token is written, and then all of them."""
    began = time.perf_counter()
    write(1)
    first = time.perf_counter() - began
    write(tokens)
    rest = time.perf_counter() - began - 2 * first
    return Figures(first * 1000, (tokens - 1) / rest)


def vllm(args: argparse.Namespace, _: Path, /) -> Contenders:
    """vLLM, greedy; it captures graphs as it starts. A prompt of the same tokens, never cached."""
    from vllm import LLM, SamplingParams

    room = {"max_model_len": 1024, "gpu_memory_utilization": 0.4}
    llm = LLM(str(args.base), dtype="bfloat16", enable_prefix_caching=False, **room)
    given = {"prompt_token_ids": prompt_ids(args)}

    def write(count: int) -> None:
        wanted = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
        llm.generate([given], wanted, use_tqdm=False)

    return {"vLLM bfloat16: greedy": partial(_timed, write, args.tokens)}


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


def llama_cpp(args: argparse.Namespace, scratch: Path, /, *, same_bits: bool) -> Contenders:
    """llama.cpp's server, greedy, its own timings; a prompt of the same tokens, never cached.

    Of the file that the base was expanded from as it is, or at the bits a number of ours.
    """
    import xllamacpp

    name, file = ("Q8_0", scratch / "q8_0.gguf") if same_bits else ("as given", args.gguf)
    if same_bits:
        requantise(args.gguf, file)
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 1024, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
    params.cache_prompt, params.ui, params.port, params.verbosity = False, False, 0, 0
    server = xllamacpp.Server(params)
    atexit.register(os._exit, 0)  # it has threads that do not end
    asked = {"prompt": prompt_ids(args), "n_predict": args.tokens, "temperature": 0}
    body = json.dumps({**asked, "cache_prompt": False, "ignore_eos": True}).encode()

    def run() -> Figures:
        request = urllib.request.Request(
            f"{server.listening_address}/completion", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as said:
            timings = json.loads(said.read())["timings"]
        return Figures(timings["prompt_ms"], timings["predicted_per_second"])

    return {f"llama.cpp {name}: greedy": run}


Engines = Callable[[argparse.Namespace, Path], Contenders]


_own: Contenders = {}  # of the engine whose process this is


def _open(make: Engines, args: argparse.Namespace, scratch: Path) -> list[str]:
    torch.set_num_threads(args.threads)
    _own.update(make(args, scratch))
    return list(_own)


def _run(name: str) -> Figures:
    return _own[name]()


@contextlib.contextmanager
def _elsewhere(make: Engines, args: argparse.Namespace, scratch: Path) -> Iterator[Contenders]:
    """The contenders of an engine, each run in that engine's process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as engine:

        def ask(name: str) -> Figures:
            return engine.submit(_run, name).result()

        names = engine.submit(_open, make, args, scratch).result()
        yield {name: partial(ask, name) for name in names}


def race(contenders: Contenders, runs: int) -> dict[str, Figures]:
    """Each one's best figures, all taking turns; the first turn warms up."""
    turns = [{name: run() for name, run in contenders.items()} for _ in range(runs + 1)]
    best = {}
    for name in contenders:
        found = [turn[name] for turn in turns[1:]]
        first_ms = min(figures.first_ms for figures in found)
        best[name] = Figures(first_ms, max(figures.tokens_per_s for figures in found))
    return best


def main() -> None:
    """Parse, measure, print."""
    parser = arguments(__doc__)
    parser.add_argument("--base", type=Path, default=PEBBLE)
    parser.add_argument("--voice", type=Path, help="a generation's folder")
    parser.add_argument("--gguf", type=Path, help="the base as GGUF, for llama.cpp")
    parser.add_argument("--dtypes", default="auto", help="comma-separated: auto,float32,int8,...")
    parser.add_argument("--transformers", default="bfloat16", help='comma-separated, "" for none')
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=128, help="tokens written")
    parser.add_argument("--prompt", type=int, default=300, help="tokens of the prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    engines: list[Engines] = [ours]
    engines += [partial(llama_cpp, same_bits=same) for same in (True, False) if args.gguf]
    engines += [transformers] if args.transformers else []
    if choose_device(args.device).type == "cuda" and importlib.util.find_spec("vllm"):
        engines.append(vllm)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders: Contenders = {}
        for make in engines:
            contenders |= stack.enter_context(_elsewhere(make, args, scratch))
        rows = race(contenders, args.runs)
    columns = (f"prompt {args.prompt}, {args.threads} threads", "tokens/s", "first, ms")
    told = ((name, f"{row.tokens_per_s:.1f}", f"{row.first_ms:.1f}") for name, row in rows.items())
    print(markdown(columns, told))
    figures = {name: vars(row) for name, row in rows.items()}
    keep(args.json, {"prompt": args.prompt, "threads": args.threads, "rows": figures})


if __name__ == "__main__":
    main()
