"""Profiles by their rewards, filtered."""

from __future__ import annotations

from tables import candidate, read, says, write

from pivotrl_cli.configs import FilterConfig
from pivotrl_cli.rows import Dropped, Pivot, Profile, ProfileStatus, Rollout
from pivotrl_cli.stages.filter import run as stage
from pivotrl_cli.stats import mean_and_std, rate_interval


def profiled(key: str, rewards: str | list[float], **changes) -> Profile:
    """Candidate `key` with these rewards; as text, one digit each and `-` for what was not measured."""
    values = [None if r == "-" else float(r) for r in rewards]
    scored = [r for r in values if r is not None]
    mean, std = mean_and_std(scored)
    low, high = (None, None) if mean is None else rate_interval(mean, len(scored))
    rollouts = [
        Rollout(
            sample=i,
            text=f"{key} {i}",
            action=None,
            reward=r,
            verdict="error" if r is None else "x",
            n_tokens=3,
            logprob=-1.0,
            finish_reason="stop",
            seed=i,
        )
        for i, r in enumerate(values)
    ]
    return Profile(
        **candidate(key, **changes).model_dump(),
        rollouts=rollouts,
        n_scored=len(scored),
        n_error=len(values) - len(scored),
        n_truncated=0,
        prompt_tokens=9,
        reward_mean=mean,
        reward_std=std,
        pass_rate_low=low,
        pass_rate_high=high,
        status=ProfileStatus.OK if scored else ProfileStatus.NOT_SCORED,
        status_detail="",
        template_fault="",
    )


ROWS = [
    profiled("a-0", "0000"),
    profiled("a-1", "1000"),
    profiled("a-2", "1100"),
    profiled("b-0", "1110"),
    profiled("b-1", "1111"),
    profiled("b-2", [0.5, 0.5]),
    profiled("c-0", "----"),
    profiled("c-1", "10--", expected_action=says("Done.")),
    profiled("c-2", "1100", split="holdout"),
    profiled("d-0", "11100", source="u.jsonl"),
    profiled("d-1", [0.25, 0.75, 0.25, 0.75], source="u.jsonl"),
]


def run(tmp_path, rows=ROWS, name="pivots", **options):
    """Pivots, dropped rows and summary of a filter run over these rows."""
    source = write(tmp_path / "profile.parquet", rows, Profile)
    output, dropped = (tmp_path / f"{name}.parquet", tmp_path / f"{name}.dropped.parquet")
    summary = stage.run(FilterConfig(profile=str(source), output=str(output), dropped=dropped, **options))
    return read(output, Pivot), read(dropped, Dropped), summary


def steps(summary) -> list[tuple]:
    """The funnel, one tuple a step."""
    return [(step.step, step.left, step.dropped) for step in summary.funnel]


def ids(rows) -> list[str]:
    return [row.candidate_id for row in rows]


MANY = [profiled(f"t{i}-0", "1" * (i % 5) + "0" * (4 - i % 5)) for i in range(100)]
