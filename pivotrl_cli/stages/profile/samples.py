"""The rollouts of one candidate while a profile is made, and their names in the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pivotrl_cli.rows import Rollout, Row

Span = tuple[int, int]
"""Index of the first sample, and how many."""


class Samples(Row):
    """Scored rollouts of one candidate, or why there are none; the value of a journal entry."""

    rollouts: list[Rollout]
    status: Literal["ok", "too_long", "unrenderable", "screened_out"] = "ok"
    detail: str = ""
    prompt_tokens: int | None = None
    template_fault: str = ""
    entropy: float | None = None
    """Of the demonstrated action, from the prescreen."""
    audited: bool = False

    def with_round(self, later: Samples) -> Samples:
        """Append the rollouts of a later round; the prescreen is a round without any."""
        if not self.rollouts:
            return later.model_copy(update={"entropy": self.entropy, "audited": self.audited})
        return self.model_copy(update={"rollouts": self.rollouts + later.rollouts})

    def with_replaced(self, new: Iterable[Rollout]) -> Samples:
        """Put these rollouts in the place of those with the same index."""
        by_sample = {r.sample: r for r in new}
        return self.model_copy(update={"rollouts": [by_sample.get(r.sample, r) for r in self.rollouts]})


Results = Mapping[str, Samples]
"""Samples by candidate id."""


def append_round(results: Results, samples: Results) -> dict[str, Samples]:
    """Results of all rounds so far, with those of one more."""
    return {
        **results,
        **{key: results[key].with_round(one) if key in results else one for key, one in samples.items()},
    }


def journal_key(candidate_id: str, span: Span) -> str:
    """Key of one round at one candidate: `a-003/8+4` is four samples from the eighth on."""
    return f"{candidate_id}/{span[0]}+{span[1]}"


def parse_journal_key(key: str) -> tuple[str, Span]:
    """Inverse of `journal_key`."""
    candidate_id, _, span = key.rpartition("/")
    first, _, n = span.partition("+")
    return candidate_id, (int(first), int(n))
