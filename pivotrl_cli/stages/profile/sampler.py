"""Samples and verifies the rollouts of a profile, window by window.

A round is complete before the next one is decided, so later rounds follow from the rewards of earlier ones, and a
resumed run samples what the killed one would have. For the same reason a failed rollout is retried only while no later
round has started.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import Engine, Group, Request, Sampling
from pivotrl_cli.errors import RunError
from pivotrl_cli.rows import Candidate, Rollout
from pivotrl_cli.stages.profile import prescreen
from pivotrl_cli.stages.profile.adaptive import Strategy, fixed_strategy
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.profile.samples import Results, Samples, Span, append_round, journal_key
from pivotrl_cli.stages.shared.scoring import score_again, score_group
from pivotrl_cli.storage.journal import Journal, MemoryJournal
from pivotrl_cli.verifiers import Verifier

MIN_ROLLOUTS = 100
"""Rollouts from which on the share of failed ones is checked."""

Window = Mapping[str, Candidate]
"""Candidates that are sampled together, by id."""
Spans = dict[str, Span]
"""What one round samples, by candidate id."""
NO_SPAN: Span = (0, 0)
"""The prescreen's round."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Samples windows; an entry of the journal is never sampled again."""

    engine: Callable[[], Engine]
    verifier_of: Callable[[Candidate], Verifier]
    strategy: Strategy
    config: ProfileConfig
    journal: Journal | MemoryJournal
    meter: Meter

    def run(self, windows: Iterable[tuple[Sequence[Candidate], Results]]) -> Iterator[list[Samples]]:
        """For each window: sample a group at every candidate, verify each completion, append it to the results.

        One round, or several with an adaptive strategy; a prescreen comes first. Around it stand `resume` and
        `from_journal`, which give what an earlier run sampled, and `retry`, which retries failures.
        """
        for rows, earlier in windows:
            window = {row.candidate_id: row for row in rows}
            self.meter.start_window(len(window))
            results = self.prescreen(window) if self.config.prescreen else self.resume(window, earlier)
            while spans := self.next_round(window, results):
                recorded = self.from_journal(spans)
                samples = dict(recorded)
                for batch in self.sample(window, spans, done=recorded):
                    verified = {group.request.key: self.verify(window, group, spans) for group in batch}
                    self.record(verified, spans)
                    samples |= verified
                results = append_round(results, self.retry(window, results, spans, samples, recorded))
            self.meter.end_window()
            in_order = [results[key] for key in window]
            del rows, window  # their states are large, and not needed while the samples are written
            yield in_order

    def prescreen(self, window: Window) -> Results:
        """What the prescreen says of the candidates; the journal keeps it as a round without rollouts."""
        spans = dict.fromkeys(window, NO_SPAN)
        measured = self.from_journal(spans)
        if len(measured) < len(window):
            measured = prescreen.measure(self.engine(), self.config, list(window.values()))
            self._write(measured, spans)
        return prescreen.decide(measured, self.config)

    def next_round(self, window: Iterable[str], results: Results) -> Spans:
        """What to sample after these results; empty when every candidate has enough."""
        spans: Spans = {}
        for key in window:
            so_far = results.get(key)
            if so_far is not None and so_far.status != "ok":
                continue
            rewards = [r.reward for r in so_far.rollouts] if so_far else []
            strategy = fixed_strategy(self.config.n) if so_far and so_far.audited else self.strategy
            if (n := strategy(rewards)) > 0:
                spans[key] = (len(rewards), n)
        return spans

    def sample(self, window: Window, spans: Spans, done: Container[str]) -> Iterator[list[Group]]:
        """Groups from the engine, in one call for each distinct span; candidates in `done` are left out."""
        for span in sorted(set(spans.values())):
            keys = [key for key, theirs in spans.items() if theirs == span]
            if all(key in done for key in keys):
                continue
            for batch in self.engine().sample(self._requests(window, keys), self._sampling(span), done):
                yield [group for group in batch if group.request.key not in done]

    def verify(self, window: Window, group: Group, spans: Spans) -> Samples:
        """Score every completion of a group."""
        first, _ = spans[group.request.key]
        return Samples(
            rollouts=self._score(window, group, first),
            status=group.status,
            detail=group.detail,
            prompt_tokens=len(group.prompt_ids) or None,
            template_fault=group.template_fault,
        )

    def record(self, samples: Results, spans: Spans) -> None:
        """Journal and count a batch; raises if nothing has worked so far."""
        self._write(samples, spans)
        self.meter.add_sampled([(one, spans[key][1]) for key, one in samples.items()], self.engine())
        if self.meter.n_failed == self.meter.n_rollouts:
            self.check_error_rate()

    # ---- resuming ---------------------------------------------------------------------------------------------------

    def resume(self, window: Window, earlier: Results) -> Results:
        """Start from the results of an output with fewer rollouts; its failures are retried."""
        if not earlier:
            return {}
        spans = _first_round(earlier)
        recorded = self.from_journal(spans)
        samples = {**earlier, **recorded}
        return self.retry(window, {}, spans, samples, samples)

    def from_journal(self, spans: Spans) -> dict[str, Samples]:
        """The part of a round that an earlier run sampled."""
        names = {journal_key(key, span): key for key, span in spans.items()}
        return {names[name]: Samples.model_validate(value) for name, value in self.journal.read(names).items()}

    def all_from_journal(self, keys: Sequence[str], earlier: Results) -> list[Samples] | None:
        """Results of a window that the journal has whole, nothing retried; None if samples are missing."""
        results: Results = {**earlier, **self.from_journal(_first_round(earlier))}
        if self.config.prescreen:
            measured = self.from_journal(dict.fromkeys(keys, NO_SPAN))
            if len(measured) < len(keys):
                return None
            results = prescreen.decide(measured, self.config)
        while spans := self.next_round(keys, results):
            samples = self.from_journal(spans)
            if len(samples) < len(spans):
                return None
            results = append_round(results, samples)
        return [results[key] for key in keys]

    # ---- retrying ---------------------------------------------------------------------------------------------------

    def retry(
        self, window: Window, results: Results, spans: Spans, samples: dict[str, Samples], recorded: Results
    ) -> dict[str, Samples]:
        """The samples of a round with another try at those that failed, unless a later round was built on them."""
        self.meter.add_recorded((one, spans[key][1]) for key, one in recorded.items())
        if any(r.error for one in samples.values() for r in one.rollouts):
            following = self.next_round(window, append_round(results, samples))
            if not any(journal_key(key, span) in self.journal for key, span in following.items()):
                samples = self._verify_again(window, spans, samples, recorded)
                samples = self._sample_again(window, spans, samples)
        self.check_error_rate()
        return samples

    def _verify_again(
        self, window: Window, spans: Spans, samples: dict[str, Samples], recorded: Container[str]
    ) -> dict[str, Samples]:
        """Score again where the verifier failed in an earlier run."""
        mended: dict[str, Samples] = {}
        for key, one in samples.items():
            failed = [r for r in one.rollouts if r.error and r.finish_reason != "error"]
            if failed and key in recorded:
                verifier = self.verifier_of(window[key])
                mended[key] = one.with_replaced(score_again(window[key], r, verifier) for r in failed)
        return self._replace(spans, samples, mended)

    def _sample_again(self, window: Window, spans: Spans, samples: dict[str, Samples]) -> dict[str, Samples]:
        """Sample again where the engine failed, in one call for each sample index."""
        for _ in range(self.config.max_retries):
            for index, keys in sorted(_engine_failures(samples).items()):
                for batch in self.engine().sample(self._requests(window, keys), self._sampling((index, 1))):
                    self.meter.retries += len(batch)
                    mended = {
                        group.request.key: samples[group.request.key].with_replaced(self._score(window, group, index))
                        for group in batch
                    }
                    samples = self._replace(spans, samples, mended)
        return samples

    def _replace(self, spans: Spans, samples: dict[str, Samples], mended: dict[str, Samples]) -> dict[str, Samples]:
        for key, one in mended.items():
            self.meter.replace(samples[key], one)
        self._write(mended, spans)
        return samples | mended

    def check_error_rate(self) -> None:
        """Raise if more of the rollouts so far failed than the run accepts."""
        n, n_failed = self.meter.n_rollouts, self.meter.n_failed
        if n < MIN_ROLLOUTS or n_failed <= self.config.max_error_rate * n:
            return
        again = "run the same command again to resume and to retry the failed ones; "
        raise RunError(
            f"{n_failed:,} of {n:,} rollouts failed, the first: {self.meter.first_error}",
            f"{again if isinstance(self.journal, Journal) else ''}--max-error-rate accepts more",
        )

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _write(self, samples: Results, spans: Spans) -> None:
        if samples:
            self.journal.add(
                {journal_key(key, spans[key]): one.model_dump(exclude_defaults=True) for key, one in samples.items()}
            )

    def _score(self, window: Window, group: Group, first: int) -> list[Rollout]:
        candidate = window[group.request.key]
        return score_group(candidate, group.completions, self.verifier_of(candidate), self.config.truncated, first)

    def _requests(self, window: Window, keys: Iterable[str]) -> list[Request]:
        rows = {key: window[key] for key in keys}
        return [
            Request(key=key, state=row.state, tools=row.tools, expected_action=row.expected_action)
            for key, row in rows.items()
        ]

    def _sampling(self, span: Span) -> Sampling:
        return Sampling(
            n=span[1],
            first=span[0],
            temperature=self.config.temperature,
            max_new_tokens=self.config.max_new_tokens,
            seed=self.config.seed,
        )


def _first_round(earlier: Results) -> Spans:
    return {key: (0, len(one.rollouts)) for key, one in earlier.items()}


def _engine_failures(samples: Results) -> dict[int, list[str]]:
    """Candidates by the index of the sample that the engine failed at."""
    failed: dict[int, list[str]] = {}
    for key, one in samples.items():
        for rollout in one.rollouts:
            if rollout.finish_reason == "error":
                failed.setdefault(rollout.sample, []).append(key)
    return failed
