"""Rewards for other trainers; the reward files of an export call these functions.

The ground truth of a row is the whole candidate as JSON, so that any verifier finds every field it needs. Text that
cannot be parsed as an action earns 0, as in `pivotrl train`. A demonstration that its own verifier cannot judge has no
reward at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pivotrl_cli.model.chat import ChatFormat, UnparsableError, to_message
from pivotrl_cli.model.formats import read
from pivotrl_cli.model.formats.known import BY_NAME
from pivotrl_cli.model.formats.notation import to_format
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import UnverifiableError, asks_judge, load_verifier

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEEDS_JUDGE = "its verifier asks a judge, and a reward file has none"


def ground_truth(candidate: Candidate) -> str | None:
    """The row's ground truth; None where no reward file can score it."""
    if asks_judge(candidate.verifier):
        return None
    return candidate.model_dump_json(include=set(Candidate.model_fields))


def reward_of_text(text: str, truth: str, form: dict[str, Any] | None = None) -> float | None:
    """Reward of a completion, with Hermes-style calls or in the format of a record; None where the demonstration cannot
    be judged."""
    known = BY_NAME["hermes"] if form is None else to_format(form)
    return _reward(lambda candidate: to_message(read(known, text, "", candidate.tools)), truth)


def reward_of_tokens(chat: ChatFormat, token_ids: list[int], truth: str) -> float | None:
    """Reward of sampled tokens, read as the model's own chat format writes them; None as above."""

    def action(candidate: Candidate) -> Message:
        prompt_ids = chat.prompt_ids(candidate.state, candidate.tools)
        return chat.parse_tokens(token_ids, prompt_ids, candidate.tools)

    return _reward(action, truth)


def trl_reward(tokenizer: PreTrainedTokenizerBase) -> Callable[..., list[float | None]]:
    chat = ChatFormat(tokenizer)

    def pivot_reward(completion_ids: list[list[int]], ground_truth: list[str], **_: object) -> list[float | None]:
        pairs = zip(completion_ids, ground_truth, strict=True)
        return [reward_of_tokens(chat, list(ids), truth) for ids, truth in pairs]

    return pivot_reward


def _reward(action_at: Callable[[Candidate], Message], truth: str) -> float | None:
    candidate = _candidate(truth)
    try:
        return load_verifier(candidate.verifier)(candidate, action_at(candidate)).reward
    except UnparsableError:
        return 0.0
    except UnverifiableError:
        return None


@lru_cache(maxsize=64)
def _candidate(truth: str) -> Candidate:
    return Candidate.model_validate_json(truth)
