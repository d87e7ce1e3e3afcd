"""The samples of a window of candidates: drawn in rounds, scored, journaled as they come, tried again where they fail.

    while the strategy wants more samples at some candidate:
        draw them, each batch scored and then journaled        what the journal has is not drawn again
        draw the failed ones again, at most `max_retries` times

A round is complete before the strategy is asked again, so what later rounds are made of follows from the results of the
earlier ones, and a run that goes on from a journal asks for the same samples as the one that was killed. For the same
reason failures are tried again only while no later round has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling
from pivotrl_cli.errors import RunError
from pivotrl_cli.rows import Candidate, Rollout, Row
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.shared.scoring import score_again, score_group
from pivotrl_cli.storage.journal import Journal, Notes
from pivotrl_cli.verifiers import Verifier

ENOUGH = 100
"""Rollouts from which on the share of failed ones says something."""


class Strategy(Protocol):
    """Decides how many samples a candidate gets, round by round."""

    def __call__(self, rewards: Sequence[float | None], /) -> int:
        """How many more to draw, given the rewards so far (null where not measured); 0 or less when it is enough.

        Asked with no rewards before the first round. It must depend on `rewards` alone.
        """
        ...


def fixed(n: int) -> Strategy:
    """All `n` in one round."""
    return lambda rewards: n - len(rewards)


class Sampled(Row):
    """What was found at one candidate: scored samples, or why there are none."""

    rollouts: list[Rollout]
    status: Literal["ok", "too_long", "unrenderable"] = "ok"
    detail: str = ""
    prompt_tokens: int | None = None
    template_fault: str = ""

    def then(self, more: Sampled) -> Sampled:
        """With the samples of a later round."""
        return self.model_copy(update={"rollouts": self.rollouts + more.rollouts})

    def replaced(self, new: Iterable[Rollout]) -> Sampled:
        """With these rollouts in the place of those of the same index."""
        by_sample = {r.sample: r for r in new}
        return self.model_copy(update={"rollouts": [by_sample.get(r.sample, r) for r in self.rollouts]})


Spans = dict[str, tuple[int, int]]
"""By candidate: index of the first sample, and how many."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Samples windows; what the journal has is never sampled again."""

    engine: Callable[[], Engine]
    verifier_of: Callable[[Candidate], Verifier]
    strategy: Strategy
    config: ProfileConfig
    journal: Journal | Notes | None
    meter: Meter

    def window(self, rows: Sequence[Candidate], earlier: Mapping[str, Sampled] | None = None) -> list[Sampled]:
        """Everything at these candidates, in their order; `earlier` is what an output with fewer samples has."""
        self.meter.begin_window(len(rows))
        window = Window(self, {row.candidate_id: row for row in rows})
        if earlier:
            window.take(earlier)
        while asked := window.asked():
            window.draw(asked)
        self.meter.end_window()
        return [window.found[row.candidate_id] for row in rows]

    def recorded(self, keys: Sequence[str], earlier: Mapping[str, Sampled]) -> list[Sampled] | None:
        """What the journal has of a window, with nothing tried again; None where samples are missing."""
        found = {**earlier, **self.old({key: (0, len(part.rollouts)) for key, part in earlier.items()})}
        while asked := self.asked(keys, found):
            parts = self.old(asked)
            if len(parts) < len(asked):
                return None
            found = joined(found, parts)
        return [found[key] for key in keys]

    def asked(self, keys: Iterable[str], found: Mapping[str, Sampled]) -> Spans:
        """The next round, after these results; empty when every candidate has enough."""
        spans: Spans = {}
        for key in keys:
            so_far = found.get(key)
            if so_far is not None and so_far.status != "ok":
                continue
            rewards = [r.reward for r in so_far.rollouts] if so_far else []
            if (n := self.strategy(rewards)) > 0:
                spans[key] = (len(rewards), n)
        return spans

    def old(self, spans: Spans) -> dict[str, Sampled]:
        """What the journal has of them."""
        if self.journal is None:
            return {}
        names = {journal_key(key, span): key for key, span in spans.items()}
        return {names[name]: Sampled.model_validate(value) for name, value in self.journal.read(names).items()}

    def stop_above_error_rate(self) -> None:
        """Raise where more of the rollouts so far failed than the run accepts."""
        seen, failed = self.meter.n_rollouts, self.meter.n_failed
        if seen < ENOUGH or failed <= self.config.max_error_rate * seen:
            return
        kept = (
            "what is done is kept: the same command tries the failed ones again and goes on; " if self.journal else ""
        )
        raise RunError(
            f"{failed:,} of {seen:,} rollouts failed, the first: {self.meter.first_error}",
            f"{kept}--max-error-rate accepts more",
        )


class Window:
    """Candidates on their way through the rounds."""

    def __init__(self, sampler: Sampler, candidates: dict[str, Candidate]) -> None:
        self.candidates = candidates
        self.found: dict[str, Sampled] = {}
        """Of all rounds so far."""
        self._with = sampler
        self._config, self._journal, self._meter = sampler.config, sampler.journal, sampler.meter

    def asked(self) -> Spans:
        """The next round; empty when every candidate has enough."""
        return self._with.asked(self.candidates, self.found)

    def take(self, earlier: Mapping[str, Sampled]) -> None:
        """A first round that is there already, in an output with fewer samples; its failures are tried again."""
        spans = {key: (0, len(part.rollouts)) for key, part in earlier.items()}
        self._finish(spans, {**earlier, **self._with.old(spans)}, set(spans))

    def draw(self, spans: Spans) -> None:
        """One round: from the journal what it has, the rest from the engine."""
        parts = self._with.old(spans)
        old = set(parts)
        for span in sorted(set(spans.values())):
            keys = [key for key, theirs in spans.items() if theirs == span]
            if not old.issuperset(keys):
                parts |= self._sampled(keys, span, old)
        self._finish(spans, parts, old)

    def _sampled(self, keys: list[str], span: tuple[int, int], old: set[str]) -> dict[str, Sampled]:
        """One call of the engine, batch by batch into the journal."""
        parts: dict[str, Sampled] = {}
        for batch in self._with.engine().sample(self._requests(keys), self._sampling(span), old):
            new = {g.request.key: self._scored(g, span[0]) for g in batch if g.request.key not in old}
            self._record(new, dict.fromkeys(new, span))
            self._meter.new(new.values(), span[1], self._with.engine())
            parts |= new
            self._stop_if_nothing_works()
        return parts

    def _finish(self, spans: Spans, parts: dict[str, Sampled], old: set[str]) -> None:
        """End a round: try again what failed, unless a later round was built on it; join it to the earlier ones."""
        self._meter.old((parts[key], spans[key][1]) for key in old)
        if any(r.error for part in parts.values() for r in part.rollouts) and not self._is_closed(parts):
            parts = self._verified_again(spans, parts, old)
            parts = self._sampled_again(spans, parts)
        self.found = joined(self.found, parts)
        self._with.stop_above_error_rate()

    def _is_closed(self, parts: Mapping[str, Sampled]) -> bool:
        """Whether the journal has samples of the round that follows from these results."""
        journal = self._journal
        following = self._with.asked(self.candidates, joined(self.found, parts)) if journal is not None else {}
        return journal is not None and any(journal_key(key, span) in journal for key, span in following.items())

    def _verified_again(self, spans: Spans, parts: dict[str, Sampled], old: set[str]) -> dict[str, Sampled]:
        """With another verdict where in an earlier run the verifier failed; nothing is sampled for it."""
        mended = {
            key: parts[key].replaced(score_again(candidate, r, verifier) for r in unverified)
            for key, candidate in self.candidates.items()
            if key in old and (unverified := [r for r in parts[key].rollouts if r.error and r.finish_reason != "error"])
            for verifier in (self._with.verifier_of(candidate),)
        }
        return self._replace(spans, parts, mended)

    def _sampled_again(self, spans: Spans, parts: dict[str, Sampled]) -> dict[str, Sampled]:
        """With other samples where the engine failed, one call for each sample index."""
        for _ in range(self._config.max_retries):
            for sample, keys in sorted(_failed(parts).items()):
                for batch in self._with.engine().sample(self._requests(keys), self._sampling((sample, 1))):
                    self._meter.retries += len(batch)
                    mended = {g.request.key: parts[g.request.key].replaced(self._rollouts(g, sample)) for g in batch}
                    parts = self._replace(spans, parts, mended)
        return parts

    def _replace(self, spans: Spans, parts: dict[str, Sampled], mended: dict[str, Sampled]) -> dict[str, Sampled]:
        for key, part in mended.items():
            self._meter.replace(parts[key], part)
        self._record(mended, spans)
        return parts | mended

    def _record(self, parts: Mapping[str, Sampled], spans: Spans) -> None:
        if self._journal is not None and parts:
            self._journal.add({journal_key(key, spans[key]): part.model_dump() for key, part in parts.items()})

    def _scored(self, group: Group, first: int) -> Sampled:
        return Sampled(
            rollouts=self._rollouts(group, first),
            status=group.status,
            detail=group.detail,
            prompt_tokens=len(group.prompt_ids) or None,
            template_fault=group.template_fault,
        )

    def _rollouts(self, group: Group, first: int) -> list[Rollout]:
        candidate = self.candidates[group.request.key]
        verifier = self._with.verifier_of(candidate)
        return score_group(candidate, group.completions, verifier, self._config.truncated, first)

    def _requests(self, keys: Iterable[str]) -> list[Request]:
        return [Request(key=key, state=c.state, tools=c.tools) for key in keys for c in (self.candidates[key],)]

    def _sampling(self, span: tuple[int, int]) -> Sampling:
        config = self._config
        return Sampling(
            n=span[1],
            first=span[0],
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed,
        )

    def _stop_if_nothing_works(self) -> None:
        if self._meter.n_rollouts >= ENOUGH and self._meter.n_failed == self._meter.n_rollouts:
            self._with.stop_above_error_rate()


def joined(found: Mapping[str, Sampled], parts: Mapping[str, Sampled]) -> dict[str, Sampled]:
    """With the results of another round."""
    return {**found, **{key: found[key].then(part) if key in found else part for key, part in parts.items()}}


def journal_key(candidate_id: str, span: tuple[int, int]) -> str:
    """Names one round at one candidate: `a-003/8+4` is four samples from the eighth on."""
    return f"{candidate_id}/{span[0]}+{span[1]}"


def parse_journal_key(key: str) -> str:
    """The candidate."""
    return key.rpartition("/")[0]


def _failed(parts: Mapping[str, Sampled]) -> dict[int, list[str]]:
    """Candidates by the index of the sample that the engine failed at."""
    failed: dict[int, list[str]] = {}
    for key, part in parts.items():
        for rollout in part.rollouts:
            if rollout.finish_reason == "error":
                failed.setdefault(rollout.sample, []).append(key)
    return failed
