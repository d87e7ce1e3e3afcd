"""What a profile needs before it can sample: a run opens it once, and every worker of Ray once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import fingerprints
from pivotrl_cli.errors import InputError
from pivotrl_cli.rows import Candidate, Profile, ProfileStatus
from pivotrl_cli.stages.profile.adaptive import AdaptiveRule, Strategy, fixed_strategy
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.profile.sampler import Sampler
from pivotrl_cli.stages.profile.samples import Results, Samples
from pivotrl_cli.stages.profile.statistics import ADDED
from pivotrl_cli.stages.profile.windows import Plan
from pivotrl_cli.stages.shared.judge import open_judge
from pivotrl_cli.stages.shared.resume import open_when_needed
from pivotrl_cli.storage.journal import Journal, MemoryJournal
from pivotrl_cli.storage.provenance import Provenance, differences, source_fingerprint
from pivotrl_cli.storage.table import Table, rows_of
from pivotrl_cli.verifiers import Verifier, load_verifier

if TYPE_CHECKING:
    from pivotrl_cli.verifiers.judge import Judge


@dataclass(frozen=True, slots=True)
class Setup:
    """The open inputs of a profile, and what decides its bytes."""

    config: ProfileConfig
    candidates: Table[Candidate]
    plan: Plan
    verifiers: dict[str, Verifier]
    judge: Judge | None
    provenance: Provenance
    n_earlier: int | None
    """Rollouts per candidate in an existing output that gets more of them."""
    earlier: Table[Profile] | None
    """That output."""

    def window(self, number: int) -> tuple[list[Candidate], Results]:
        """Candidates of a window, and what the earlier output has of them."""
        rows = self.candidates.take(self.plan.windows[number])
        return list(rows_of(rows, Candidate, self.candidates.name)), self.earlier_samples(number)

    def earlier_samples(self, number: int) -> Results:
        """What the earlier output has of a window; its rows are those of the windows, in order."""
        if self.earlier is None:
            return {}
        end = sum(map(len, self.plan.windows[: number + 1]))
        rows = self.earlier.take(np.arange(end - len(self.plan.windows[number]), end))
        return dict(map(_stored_samples, rows.select(["candidate_id", *ADDED]).to_pylist()))


@contextmanager
def open_setup(config: ProfileConfig) -> Iterator[Setup]:
    """Open the candidates, the verifiers and their judge."""
    with ExitStack() as stack:
        candidates = stack.enter_context(Table.open(config.candidates, Candidate))
        plan = Plan.of(candidates, config)
        names = [config.verifier] if config.verifier else candidates.distinct("verifier")
        judge = stack.enter_context(open_judge(names, config))
        verifiers = {name: load_verifier(name, judge) for name in names}
        provenance = _provenance(candidates, config, verifiers)
        n_earlier = _n_earlier(config, provenance)
        earlier = stack.enter_context(Table.open(config.output, Profile)) if n_earlier else None
        yield Setup(config, candidates, plan, verifiers, judge, provenance, n_earlier, earlier)


@contextmanager
def open_sampler(setup: Setup, journal: Journal | MemoryJournal, meter: Meter) -> Iterator[Sampler]:
    """A sampler, whose engine opens when something is to be sampled."""
    config = setup.config

    def verifier_of(candidate: Candidate) -> Verifier:
        return setup.verifiers[config.verifier or candidate.verifier]

    with open_when_needed(config, meter.start_clock) as engine:
        yield Sampler(engine, verifier_of, strategy(config), config, journal, meter)


def strategy(config: ProfileConfig) -> Strategy:
    """How many rollouts each candidate gets, and in which rounds."""
    if not config.adaptive:
        return fixed_strategy(config.n)
    rule = AdaptiveRule(max_mean=config.adaptive_max_mean, budget=config.n, level=config.adaptive_level)
    return lambda rewards: rule.more([r for r in rewards if r is not None], unscored=rewards.count(None))


def _provenance(candidates: Table[Candidate], config: ProfileConfig, verifiers: dict[str, Verifier]) -> Provenance:
    """What decides the profile; files and the model are hashed here."""
    of_verifiers = {
        f"verifier {Path(name).name}": source_fingerprint(verifier) for name, verifier in sorted(verifiers.items())
    }
    provenance = Provenance.of("profile", Profile, config, [candidates.as_input()], of_verifiers | fingerprints(config))
    shard = {} if config.shard is None else {"shard": config.shard}
    return replace(provenance, config=provenance.config | shard)


def _n_earlier(config: ProfileConfig, provenance: Provenance) -> int | None:
    """The `n` of an output that was made as this one will be, but with fewer rollouts per candidate."""
    if config.adaptive or config.prescreen or config.output == "-" or config.force or not Path(config.output).is_file():
        return None  # the adaptive rule stopped with the smaller n in mind
    try:
        with Table.open(config.output, Profile) as table:
            stored = table.provenance
    except InputError:
        return None
    if stored is None:
        return None
    n: int = stored["config"].get("n", config.n)
    changed = differences(stored | {"config": stored["config"] | {"n": config.n}}, provenance.to_dict())
    return n if n < config.n and not changed else None


def _stored_samples(row: dict[str, Any]) -> tuple[str, Samples]:
    unusable = row["status"] in (ProfileStatus.TOO_LONG, ProfileStatus.UNRENDERABLE)
    return row["candidate_id"], Samples(
        rollouts=row["rollouts"],
        status=row["status"] if unusable else "ok",
        detail=row["status_detail"] if unusable else "",
        prompt_tokens=row["prompt_tokens"],
        template_fault=row["template_fault"],
    )
