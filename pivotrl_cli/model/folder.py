"""Model folders: find one, fingerprint it, load it, save one that transformers loads unchanged.

`desk` is the policy that ships with the package. Only safetensors are read and written, and no code from a model
folder is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pivotrl_cli.configs import TemplateConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.model.formats.notation import OWN_FORMAT, to_format
from pivotrl_cli.storage.files import write_errors
from pivotrl_cli.storage.provenance import file_input

if TYPE_CHECKING:  # torch and transformers cost seconds
    import torch
    from peft import PeftModel
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

_SHIPPED = {"desk": Path(__file__).parents[1] / "policies" / "desk"}
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_FORMAT = ("config.json", "generation_config.json", "tokenizer*", "chat_template*", "vocab.json", "merges.txt")


def resolve(model: str, *, weights: bool = True) -> Path:
    """Local folder of a model given as a folder, the name of a shipped policy, or a hub name; `weights`: with them."""
    folder = local_folder(model)
    if not folder.is_dir():
        folder = _from_hub(model, [*_WEIGHTS, *_FORMAT] if weights else [*_FORMAT])
    if not (folder / "config.json").is_file():
        raise InputError(f"{model}: no config.json in the model folder", "name a folder that transformers can load")
    if weights and not any(folder.glob("*.safetensors")):
        raise InputError(f"{model}: no .safetensors weights in the model folder", "save the model as safetensors")
    return folder


def _from_hub(model: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    if model.count("/") > 1 or model.startswith((".", "/")) or model.endswith("/"):
        raise InputError(f"{model}: no such model folder", "check the path, or use --model desk")
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except (OSError, ValueError, HFValidationError) as error:
        raise InputError(
            f"{model}: no such model folder, and the hub does not have it", "check the name, or use --model desk"
        ) from error


def local_folder(model: str) -> Path:
    """The folder of a shipped policy, or the path itself; the hub is not asked."""
    return _SHIPPED.get(model, Path(model))


def fingerprint(folder: Path, *, weights: bool = True) -> str:
    """sha256 over everything that determines the model's output: config, weights, tokenizer, chat template."""
    digest = hashlib.sha256()
    patterns = (*_WEIGHTS, *_FORMAT) if weights else _FORMAT
    files = {path for pattern in patterns for path in folder.glob(pattern)}
    for path in sorted(files):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def load_tokenizer(folder: Path, given: TemplateConfig | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer, with the given templates instead of the folder's."""
    _quiet()
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _load_or_raise(
        folder, "tokenizer", lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True)
    )
    if given is not None and given.chat_template is not None:
        tokenizer.chat_template = _text_of(given.chat_template)
    if given is not None and given.response_template is not None:
        _use_response_template(tokenizer, given.response_template)
    return tokenizer


def _use_response_template(tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Keep it with the tokenizer, so that a folder written from it has it too."""
    text = _text_of(path)
    try:
        record = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        if "fields" in record:
            tokenizer.response_template = record  # transformers' own notation
        else:
            to_format(record)
            tokenizer.init_kwargs[OWN_FORMAT] = record
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a response template: {error}", "see docs/models.md") from error


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "check the path") from error


def template_fingerprints(config: TemplateConfig) -> dict[str, str]:
    """What the templates are that are used instead of the folder's, for the provenance."""
    given = {"chat template": config.chat_template, "response template": config.response_template}
    return {name: file_input(path).sha256 for name, path in given.items() if path is not None}


def load_generation_config(folder: Path) -> GenerationConfig:
    """The folder's generation config, or one made from the model's config where there is none."""
    _quiet()
    from transformers import AutoConfig, GenerationConfig

    def load() -> GenerationConfig:
        if (folder / "generation_config.json").is_file():
            return GenerationConfig.from_pretrained(folder, local_files_only=True)
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, local_files_only=True))

    config: GenerationConfig = _load_or_raise(folder, "generation config", load)
    return config


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The folder's causal language model, in evaluation mode."""
    _quiet()
    from transformers import AutoModelForCausalLM

    def load() -> Any:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
        model, found = loaded
        if found["missing_keys"]:  # transformers would initialize them at random
            raise ValueError(f"the weights lack {sorted(found['missing_keys'])[0]}")
        return model

    model: PreTrainedModel = _load_or_raise(folder, "model", load)
    model.to(device)  # type: ignore[arg-type]
    model.train(False)
    return model


def empty_model(folder: Path) -> PreTrainedModel:
    """The architecture that the folder's config describes, its weights without values."""
    _quiet()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def build() -> PreTrainedModel:
        with torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        model.train(False)
        return model

    built: PreTrainedModel = _load_or_raise(folder, "config", build)
    return built


_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)
"""Exceptions that transformers raises on unexpected files."""


def _load_or_raise(folder: Path, what: str, load: Callable[[], Any]) -> Any:
    from safetensors import SafetensorError

    try:
        return load()
    except (*_FAULTS, SafetensorError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{folder}: transformers cannot load the {what}: {first_line}", "check the folder") from error


def resolve_device_and_dtype(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Torch device and dtype for `--device` and `--dtype`; `auto` takes a GPU if there is one, and bfloat16 on it."""
    import torch

    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except RuntimeError as error:
        raise ConfigError(f"--device {device}: torch does not know it", "use cpu, cuda, cuda:0 or auto") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: torch sees no GPU", "use --device cpu, or a CUDA build of torch")
    if dtype == "auto":
        return chosen, torch.bfloat16 if chosen.type == "cuda" else torch.float32
    return chosen, {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


def save(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights, config, tokenizer and chat template, so that transformers loads them; of LoRA the adapters alone.

    `state` has the weights, where those of `model` are sharded.
    """
    _quiet()
    adapters: Any = {"save_embedding_layers": False} if hasattr(model, "get_base_model") else {}  # peft asks the hub
    with _disk_errors(folder):
        model.save_pretrained(str(folder), state_dict=state, safe_serialization=True, **adapters)
        (folder / "README.md").unlink(missing_ok=True)  # peft's card, all blanks
        tokenizer.save_pretrained(folder)


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    with _disk_errors(path):
        save_file(tensors, path)


@contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    """Turn the error that safetensors raises on a full disk into an `OSError`."""
    from safetensors import SafetensorError

    with write_errors(place):
        try:
            yield
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else None, str(error)) from error


def _quiet() -> None:
    """Turn off transformers' notices and progress bars."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
