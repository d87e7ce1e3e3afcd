"""Scripted completions instead of a model, for tests and dry runs.

The script is JSONL, one object per line: `{"candidate_id": "...", "completions": ["text", {"error": "..."}, ...]}`.
Texts are read in the format of the model folder that `--model` names, else as Hermes-style actions; `{"text": "..."}`
is one that the token limit cut. A state that is not in the script, or a sample beyond its list, is an error value, as
with an engine that failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.engines import Completion, Engine, Group, Request, Sampling, sample_seed
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, parse_hermes, valid_text
from pivotrl_cli.model.folder import fingerprint, load_tokenizer, local_folder
from pivotrl_cli.rows import Message
from pivotrl_cli.storage.provenance import file_input

Reader = Callable[[str, str], Message]
"""Reads a text, given the tools; raises `UnparsableError`."""


def open_engine(config: EngineConfig) -> ReplayEngine:
    """Read the config's script."""
    return ReplayEngine(Script(_script(config)), _reader(config))


def fingerprints(config: EngineConfig) -> dict[str, str]:
    """The script's content, and the tokenizer whose format it is read in."""
    found = {"replay": file_input(_script(config)).sha256}
    folder = _folder(config)
    return found | ({"tokenizer": fingerprint(folder, weights=False)} if folder else {})


def _folder(config: EngineConfig) -> Path | None:
    """The folder of a model other than desk, which writes Hermes-style."""
    folder = local_folder(config.model)
    return folder if config.model != "desk" and (folder / "tokenizer_config.json").is_file() else None


def _reader(config: EngineConfig) -> Reader:
    folder = _folder(config)
    if folder is None:
        if config.model != "desk":
            print(
                f"engine replay: no model folder {config.model}: texts are read as Hermes-style calls", file=sys.stderr
            )
        return _read_hermes
    chat = ChatFormat(load_tokenizer(folder, config))
    return lambda text, tools: chat.parse(text, None, tools)


def _read_hermes(text: str, tools: str) -> Message:
    return parse_hermes(text)


def _script(config: EngineConfig) -> Path:
    if config.replay is None:
        raise ConfigError("--engine replay needs a script", "add --replay completions.jsonl")
    return config.replay


class Script(Mapping[str, list[Any]]):
    """Completions by candidate id, read from the file on access: a script may be larger than memory.

    Every line is checked once, on opening. The last line of a candidate counts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, int] = {}
        place = 0
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    self._places[self._parse(line, number)[0]] = place
                place += len(line)

    def __getitem__(self, key: str) -> list[Any]:
        place = self._places[key]
        with self._open() as file:
            file.seek(place)
            return self._parse(file.readline(), 0)[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}", "check the path") from error

    def _parse(self, line: bytes, number: int) -> tuple[str, list[Any]]:
        try:
            record = json.loads(line)
            key, completions = record["candidate_id"], list(record["completions"])
            hash(key)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self._path} line {number}: not a scripted candidate",
                'each line is {"candidate_id": "...", "completions": ["text", ...]}',
            ) from error
        return key, completions


class ReplayEngine(Engine):
    """Returns the completions of a script."""

    def __init__(self, script: Mapping[str, list[Any]], reader: Reader = _read_hermes) -> None:
        self.script = script
        self._reader = reader

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        """One group per request, each by itself, in order."""
        for request in requests:
            if request.key in done:
                continue
            lines = self.script.get(request.key, [])[sampling.first : sampling.first + sampling.n]
            lines = lines + [{"error": "the script has no such completion"}] * (sampling.n - len(lines))
            completions = [
                self._completion(line, request.tools, sample_seed(sampling.seed, request.key, sampling.first + i))
                for i, line in enumerate(lines)
            ]
            yield [Group(request=request, completions=completions)]

    def _completion(self, line: Any, tools: str, seed: int) -> Completion:
        if isinstance(line, dict):
            if "error" in line:
                error = valid_text(str(line["error"]))
                return Completion(text="", action=None, finish_reason="error", seed=seed, error=error)
            text = valid_text(str(line.get("text", "")))
            return Completion(text=text, action=None, finish_reason="length", seed=seed)
        text = valid_text(str(line))
        try:
            return Completion(text=text, action=self._reader(text, tools), seed=seed)
        except UnparsableError as error:
            return Completion(text=text, action=None, problem=str(error), seed=seed)
