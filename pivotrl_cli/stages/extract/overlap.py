"""Whether a prompt is also in a benchmark or a validation set: by equal text, or by shared runs of 13 words.

Only words count, in lower case. Two prompts overlap if their words are equal, or if at least half of the runs of 13
words of the one that has fewer occur in the other, so that a prompt is found inside a longer one too. Runs that more
than half of the set's prompts share are their template, and do not count.

Left out: paraphrases, which only a model would find, and text in scripts without spaces between words beyond equality.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

RUN = 13
"""Words in a run, the length that contamination reports have used since GPT-3."""
SHARE = 0.5
"""Share of runs from which on two prompts overlap."""

_WORD = re.compile(r"\w+")
_FEW = 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far a prompt overlaps with one of the set.

    Example: `Overlap(prompt=4, share=0.62)`
    """

    prompt: int
    """Number of the prompt in the set, from 0."""
    share: float
    """Share of runs in common; 1 for equal texts."""
    equal: bool = False
    """Whether the words are the same from the first to the last."""


@dataclass(slots=True)
class PromptSet:
    """The prompts of a benchmark or a validation set, indexed."""

    n_prompts: int = 0
    _exact: dict[bytes, int] = field(default_factory=dict)
    _prompts_with: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    _n_runs: Counter[int] = field(default_factory=Counter)
    _template: set[bytes] = field(default_factory=set)

    @classmethod
    def from_texts(cls, prompts: Iterable[str]) -> PromptSet:
        """Index these prompts; repetitions count once."""
        found = cls()
        for words in map(words_of, prompts):
            key = _hash(words)
            if not words or key in found._exact:
                continue
            found._exact[key] = found.n_prompts
            for run in runs_of(words):
                found._prompts_with[run].append(found.n_prompts)
            found.n_prompts += 1
        # Remove the runs that most prompts share, given enough prompts to tell, and count the others.
        limit = found.n_prompts / 2 if found.n_prompts >= _FEW else found.n_prompts
        found._template = {run for run, sharing in found._prompts_with.items() if len(sharing) > limit}
        for run in found._template:
            del found._prompts_with[run]
        found._n_runs = Counter(prompt for sharing in found._prompts_with.values() for prompt in sharing)
        return found

    def overlap(self, text: str) -> Overlap | None:
        """The prompt of the set that this one overlaps with most, if it does."""
        words = words_of(text)
        equal = self._exact.get(_hash(words)) if words else None
        if equal is not None:
            return Overlap(equal, 1.0, equal=True)
        runs = runs_of(words) - self._template
        hits = Counter(prompt for run in runs for prompt in self._prompts_with.get(run, ()))
        shares = {prompt: n / min(len(runs), self._n_runs[prompt]) for prompt, n in hits.items()}
        prompt, share = max(shares.items(), key=lambda item: (item[1], -item[0]), default=(0, 0.0))
        return Overlap(prompt, share) if share >= SHARE else None


def words_of(text: str) -> list[str]:
    """Words in lower case.

    Example: `words_of("What's 1+1?") == ["what", "s", "1", "1"]`
    """
    return _WORD.findall(text.casefold())


def runs_of(words: list[str]) -> set[bytes]:
    """Hashes of all runs of 13 words; none where there are fewer words."""
    return {_hash(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}


def _hash(words: list[str]) -> bytes:
    return blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
