"""Recorded rollouts: of a profile, of training, or of NeMo Gym."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pivotrl_cli.configs import ScoreConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.model.chat import ChatFormat, UnparsableError, parse_hermes
from pivotrl_cli.model.folder import load_tokenizer
from pivotrl_cli.readers.document import FileDocument
from pivotrl_cli.readers.formats.nemo_gym import NemoGymReader
from pivotrl_cli.rows import Candidate, Message, Profile, Reject, TrainRollout
from pivotrl_cli.storage.table import Table, table_kind


@dataclass(frozen=True, slots=True)
class Recorded:
    """One rollout as it was recorded."""

    candidate: Candidate
    sample: int
    action: Message | None
    """None where the text could not be parsed."""
    reward: float
    """As it was recorded."""
    verdict: str
    """The recorded category; `recorded` where the file has none."""


def recorded_rollouts(config: ScoreConfig) -> Iterator[Recorded | None]:
    """Rollouts in the order of the file; None for one without a reward (truncated or failed)."""
    if config.rollouts.endswith((".jsonl", ".json")):
        yield from _gym_rollouts(Path(config.rollouts), config.candidates)
        return
    kind = table_kind(config.rollouts)
    if issubclass(kind, Profile):
        yield from _profile_rollouts(config.rollouts)
    elif kind is TrainRollout:
        yield from _training_rollouts(config)
    else:
        raise InputError(
            f"{config.rollouts}: no rollouts in this table", "give a profile, or training rollouts with --candidates"
        )


def _profile_rollouts(path: str) -> Iterator[Recorded | None]:
    with Table.open(path, Profile) as table:
        for row in table.rows():
            candidate = Candidate.model_construct(**{name: getattr(row, name) for name in Candidate.model_fields})
            for r in row.rollouts:
                known = r.reward is not None
                yield Recorded(candidate, r.sample, r.action, r.reward or 0.0, r.verdict) if known else None


def _training_rollouts(config: ScoreConfig) -> Iterator[Recorded | None]:
    if config.candidates is None:
        raise ConfigError("training rollouts name their pivots by id alone", "add --candidates pivots.parquet")
    with Table.open(config.rollouts, TrainRollout) as table, Table.open(config.candidates, Candidate) as candidates:
        if (table.provenance or {}).get("config", {}).get("method") == "e2e":
            raise InputError(
                f"{config.rollouts}: turns of whole episodes, which their environment scored",
                "give a profile, or rollouts of train --method grpo",
            )
        parse = _parser(Path(config.rollouts), (table.provenance or {}).get("config", {}).get("model", "desk"))
        places = {name: i for i, name in enumerate(candidates.frame(["candidate_id"])["candidate_id"].to_list())}
        for row in table.rows():
            if row.candidate_id not in places:
                raise InputError(
                    f"{config.candidates}: no row {row.candidate_id}", "give the table that training was run on"
                )
            candidate = candidates.at(places[row.candidate_id])
            known = row.reward is not None
            action = parse(row.text, candidate.tools)
            yield Recorded(candidate, row.sample, action, row.reward or 0.0, row.verdict) if known else None


def _parser(rollouts: Path, model: str) -> Callable[[str, str], Message | None]:
    """Reads a text of training rollouts, given the tools, in the format of the model beside them."""
    if (rollouts.parent / "tokenizer_config.json").is_file():
        chat = ChatFormat(load_tokenizer(rollouts.parent))
    elif model == "desk":  # writes Hermes-style
        chat = None
    else:
        raise InputError(
            f"{rollouts}: how {model} writes calls is not known here, for its tokenizer is not beside the rollouts",
            "give the rollouts.parquet in the folder that train wrote",
        )

    def parse(text: str, tools: str) -> Message | None:
        try:
            return parse_hermes(text) if chat is None else chat.parse(text, None, tools)
        except UnparsableError:
            return None

    return parse


def _gym_rollouts(path: Path, candidates: Path | None) -> Iterator[Recorded | None]:
    if not path.is_file():
        raise InputError(f"{path}: no such file", "check the path")
    demonstrations = _index_by_prompt(candidates) if candidates else {}
    for found in NemoGymReader().rollouts(FileDocument(path, path.name)):
        if isinstance(found, Reject):
            raise InputError(f"{path.name} line {found.line}: {found.detail}", "give NeMo Gym's rollouts of pivot rows")
        candidate, action, reward = found
        yield Recorded(_with_demonstration(candidate, demonstrations), 0, action, reward, "recorded")


def _index_by_prompt(candidates: Path) -> dict[str, Candidate]:
    with Table.open(candidates, Candidate) as table:
        return {_prompt_key(row): row for row in table.rows()}


def _with_demonstration(candidate: Candidate, demonstrations: dict[str, Candidate]) -> Candidate:
    """The candidate, with the action and the verifier of the table's row of the same prompt where one is given."""
    row = demonstrations.get(_prompt_key(candidate))
    if row is not None:
        kept = ("expected_action", "verifier", "provenance")
        return candidate.model_copy(update={name: getattr(row, name) for name in kept})
    if candidate.expected_action == Message(role="assistant"):
        raise InputError(
            f"{candidate.source} {candidate.candidate_id}: the rollout does not say what was demonstrated",
            "add --candidates FILE, extracted from the rows that it was sampled for",
        )
    return candidate


def _prompt_key(candidate: Candidate) -> str:
    text = "".join(f"{message.model_dump_json(exclude_defaults=True)}\n" for message in candidate.state)
    return hashlib.sha256(text.encode()).hexdigest()
