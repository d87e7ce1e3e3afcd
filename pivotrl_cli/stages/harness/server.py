"""The model's server: `vllm serve` for the time of a run, where asked for, and a check before anything is measured."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from pivotrl_cli.configs import EngineConfig, HarnessConfig
from pivotrl_cli.engines import endpoint
from pivotrl_cli.errors import ConfigError, RunError

START_SECONDS = 1800.0


def serve_words(config: HarnessConfig) -> list[str]:
    return ["vllm", "serve", config.model, "--port", str(config.serve_port), *shlex.split(config.serve_args)]


@contextmanager
def vllm_server(config: HarnessConfig) -> Iterator[None]:
    """The server, up and answering; it ends with the run, however that ends."""
    if shutil.which("vllm") is None:
        raise ConfigError("--serve needs the program vllm", "pip install 'pivotrl[vllm]', or name a server: --endpoint")
    log = config.output / "vllm-serve.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = serve_words(config)
    print(f"serving: {shlex.join(words)} (log: {log})", file=sys.stderr, flush=True)
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(process, config.serve_port, f"see {log}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, hint: str) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < START_SECONDS:
        if process.poll() is not None:
            raise RunError(f"vllm serve ended with {process.returncode}", hint)
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/health", timeout=2.0).status_code == 200:
                return
        except httpx2.HTTPError:
            pass  # not up yet
        time.sleep(1.0)
    raise RunError(f"vllm serve does not answer after {START_SECONDS:.0f} s", hint)


def check_server(config: HarnessConfig, url: str, calls_tools: bool) -> None:
    """Raise unless the server has the model and, where tools are called, a tool call comes back parsed."""
    settings = EngineConfig(
        model=config.model, engine="endpoint", endpoint=url, endpoint_key_variable=config.endpoint_key_variable
    )
    engine = endpoint.open_engine(settings)
    try:
        engine.check(calls_tools)
    finally:
        engine.close()
