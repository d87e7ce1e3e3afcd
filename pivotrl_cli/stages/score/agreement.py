"""How the rewards of several scorers agree on the same rollouts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

from pivotrl_cli.rows import Rollout
from pivotrl_cli.stages.score.recorded_rollouts import Recorded
from pivotrl_cli.stages.score.summary import Disagreement, Pair, ScoreSummary, action_text
from pivotrl_cli.stages.shared.judge import needs_judge, rests_on_likeness

RECORDED = "recorded"
"""Name of the rewards that the file has."""
MAX_DISAGREEMENTS = 10


@dataclass(slots=True)
class Agreement:
    """Counts rollouts as they are scored."""

    n: int = 0
    n_unscored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    for_judge: Counter[str] = field(default_factory=Counter)
    similar: Counter[str] = field(default_factory=Counter)
    _sums: dict[str, float] = field(default_factory=dict)
    _pairs: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    _widest: dict[tuple[str, ...], Disagreement] = field(default_factory=dict)
    """By the demonstrated tools and the verdicts."""

    def add(self, recorded: Recorded, scored: dict[str, Rollout]) -> None:
        """Count one rollout; only those that every verifier could score are compared."""
        self.errors.update(name for name, rollout in scored.items() if rollout.reward is None)
        rewards = {name: rollout.reward for name, rollout in scored.items() if rollout.reward is not None}
        if len(rewards) < len(scored):
            return
        self.n += 1
        self.for_judge.update({name: needs_judge(rollout) for name, rollout in scored.items()})
        self.similar.update({name: rests_on_likeness(rollout) for name, rollout in scored.items()})
        rewards = {RECORDED: recorded.reward, **rewards}
        for name, reward in rewards.items():
            self._sums[name] = self._sums.get(name, 0.0) + reward
        for pair in combinations(rewards, 2):
            self._pairs.setdefault(pair, Counter())[_outcome(*(rewards[name] for name in pair))] += 1
        if len(set(rewards.values())) > 1:
            verdicts = {RECORDED: recorded.verdict} | {name: rollout.verdict for name, rollout in scored.items()}
            self._add_disagreement(recorded, rewards, verdicts)

    def _add_disagreement(self, recorded: Recorded, rewards: dict[str, float], verdicts: dict[str, str]) -> None:
        """Keep one rollout per combination of tools and verdicts: the first with the widest gap."""
        expected = recorded.candidate.expected_action
        kind = ("+".join(call.name for call in expected.tool_calls) or "(message)", *verdicts.values())
        new = Disagreement(
            candidate_id=recorded.candidate.candidate_id,
            sample=recorded.sample,
            rewards=rewards,
            verdicts=verdicts,
            expected=action_text(expected),
            sampled=action_text(recorded.action),
            alike=1,
        )
        old = self._widest.get(kind)
        kept = new if old is None or _gap(new) > _gap(old) else old
        self._widest[kind] = kept.model_copy(update={"alike": 1 if old is None else old.alike + 1})

    def summary(self) -> ScoreSummary:
        """The disagreements by gap and by how many rollouts they stand for."""
        widest = sorted(self._widest.values(), key=lambda one: (-_gap(one), -one.alike, one.candidate_id))
        outcomes = ("both", "only_first", "only_second", "neither", "other")
        return ScoreSummary(
            rollouts=self.n,
            unscored=self.n_unscored,
            errors=dict(self.errors),
            needs_judge=dict(self.for_judge),
            similar=dict(self.similar),
            means={name: total / self.n for name, total in self._sums.items()},
            pairs=[
                Pair(first=first, second=second, **{name: counts[name] for name in outcomes})
                for (first, second), counts in self._pairs.items()
            ],
            telling=widest[:MAX_DISAGREEMENTS],
        )


def _outcome(first: float, second: float) -> str:
    match first >= 1.0, second >= 1.0:
        case True, True:
            return "both"
        case True, False:
            return "only_first"
        case False, True:
            return "only_second"
    return "neither" if first == second else "other"


def _gap(one: Disagreement) -> float:
    return max(one.rewards.values()) - min(one.rewards.values())
