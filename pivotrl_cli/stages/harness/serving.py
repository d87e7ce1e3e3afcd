"""`vllm serve` for the time of a run, and the canary: a tool call must come back parsed before anything is measured."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from pivotrl_cli.configs import EngineConfig, HarnessConfig
from pivotrl_cli.endpoint import Endpoint, EndpointSettings
from pivotrl_cli.engines import Request, Sampling, each_group, endpoint
from pivotrl_cli.errors import ConfigError, RunError
from pivotrl_cli.rows import Message

START_SECONDS = 1800.0
_TOOL = (
    '[{"type": "function", "function": {"name": "report_ready", "description": "Report that you are ready.", '
    '"parameters": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}]'
)


def serve_words(config: HarnessConfig, model: str) -> list[str]:
    """The server's command line."""
    return ["vllm", "serve", model, "--port", str(config.serve_port), *shlex.split(config.serve_args)]


@contextmanager
def served_model(config: HarnessConfig, model: str, log: Path) -> Iterator[None]:
    """The server, up and answering; ended with the run, whatever became of it."""
    if shutil.which("vllm") is None:
        raise ConfigError("--serve needs the program vllm", "pip install 'pivotrl[vllm]', or name a server: --endpoint")
    log.parent.mkdir(parents=True, exist_ok=True)
    words = serve_words(config, model)
    print(f"serving: {shlex.join(words)} (log: {log})", file=sys.stderr, flush=True)
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)
        try:
            _wait(process, f"http://127.0.0.1:{config.serve_port}/health", log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < START_SECONDS:
        if process.poll() is not None:
            raise RunError(f"vllm serve ended with {process.returncode}", f"see {log}")
        try:
            if httpx2.get(url, timeout=2.0).status_code == 200:
                return
        except httpx2.HTTPError:
            pass  # not up yet
        time.sleep(1.0)
    raise RunError(f"vllm serve does not answer after {START_SECONDS:.0f} s", f"see {log}")


def check_calls(config: HarnessConfig, url: str, model: str) -> None:
    """Raises unless a tool call comes back parsed, or the model calls none at all, which is said."""
    settings = EngineConfig.model_validate(
        {"model": model, "engine": "endpoint", "endpoint": url, "endpoint_key_variable": config.endpoint_key_variable}
    )
    engine = endpoint.open_engine(settings)
    try:
        ask = Message(role="user", content="Call report_ready with ready = true.")
        request = Request(key="canary", state=[ask], tools=_TOOL)
        list(each_group(engine, [request], Sampling(temperature=0.0, max_new_tokens=512)))
    finally:
        engine.close()


def check_model(config: HarnessConfig, url: str) -> None:
    """Raises unless the server answers and has the model, where it says which ones it has."""
    settings = EndpointSettings(base_url=url, key_variable=config.endpoint_key_variable, timeout=30.0, max_retries=2)
    with Endpoint(settings) as server:
        reply = server.get("models")
    if reply.error is not None and (reply.status is None or reply.status in (401, 403) or reply.status >= 500):
        raise RunError(f"nothing usable at {server.address}: {reply.error}", "start the server, or use --serve")
    data = (reply.body or {}).get("data")
    names = [str(one.get("id")) for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    if names and config.model not in names:
        raise ConfigError(f"{server.address} has no model {config.model}", f"it serves {', '.join(names[:5])}: --model")
