"""llama.cpp's own server in a process that can be killed and comes back at the same address.

The wheel xllamacpp holds it; what it answers is llama-server's, and nothing of it is ours.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_SERVE = """
import sys, xllamacpp
port, model, *loras = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.port = model, int(port)
params.n_ctx, params.n_parallel, params.verbosity = 1024, 1, 0
params.warmup = params.fit_params = False
# In fp32 throughout, as the other side: near ties of a random model go one way.
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.cpuparams.n_threads = 1
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in loras]
server = xllamacpp.Server(params)
sys.stdin.read()  # until whoever started it has gone
"""


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class LlamaServer:
    """Over one base, with adapters that a request may name."""

    def __init__(self, model: Path, loras: Sequence[Path] = (), port: int = 0) -> None:
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        arguments = [str(self.port), str(model), *map(str, loras)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> LlamaServer:
        end = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return self
            except (OSError, urllib.error.URLError):
                assert time.monotonic() < end and self._process.poll() is None, "no llama-server"
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, whatever it does."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
