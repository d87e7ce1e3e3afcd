"""What the runs say: one row per run, paired differences between arms with their intervals, and Markdown of both.

A run is one base and one data seed. Arms are compared within it, so what the base and the demonstrations have in common
falls out. The unit of intervals (Student's) and tests is the data seed, with the mean over the bases where there are
several, since runs of one seed share their demonstrations. They speak for further data seeds of these bases; what other
bases would do is seen, as far as it can be, in the rows per base.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student

from pivotrl_cli.benchmarks import DO_NOTHING
from pivotrl_cli.stats import sign_flip_p
from study.study import Job, Jobs, Setting

CLAIMS = [
    ("1", "in-domain success: PivotRL above SFT", "pivotrl", "sft", "desk"),
    ("1", "in-domain success: SFT above the base", "sft", "base", "desk"),
    ("1", "in-domain success: PivotRL above the base", "pivotrl", "base", "desk"),
    ("2", "out of domain: SFT against the base", "sft", "base", "skills"),
    ("2", "out of domain: PivotRL against the base", "pivotrl", "base", "skills"),
    ("2", "out of domain: PivotRL above SFT", "pivotrl", "sft", "skills"),
    ("3", "pivots above random turns at equal totals", "pivotrl", "random", "desk"),
    ("3", "pivots above random turns with nine tenths of the training turns", "pivotrl", "random_36", "desk"),
    ("3", "pivots above random turns with six fifths of the training turns", "pivotrl", "random_48", "desk"),
    ("3", "functional reward above strict match", "pivotrl", "strict", "desk"),
    ("4", "PivotRL against end-to-end RL", "pivotrl", "e2e", "desk"),
    ("more", "KL 0 against KL .2, in domain", "no_kl", "pivotrl", "desk"),
    ("more", "KL 0 against KL .2, out of domain", "no_kl", "pivotrl", "skills"),
    ("more", "posterior rule against the paper's", "posterior", "pivotrl", "desk"),
    ("more", "adaptive against fixed profiling", "adaptive", "pivotrl", "desk"),
    ("more", "re-profiling every 10 steps against none", "reprofile", "pivotrl", "desk"),
    ("more", "PivotRL, three times the steps against one", "long", "pivotrl", "desk"),
    ("more", "the same, out of domain", "long", "pivotrl", "skills"),
    ("more", "PivotRL, three times the steps, above SFT", "long", "sft", "desk"),
    ("more", "three times the steps: pivots above random turns", "long", "random_long", "desk"),
]
"""Part, what is asked, an arm and the one that is subtracted from it, benchmark."""


@dataclass(frozen=True)
class Outcome:
    """The jobs whose outputs become the tables; a first look has only `scored`."""

    scored: dict[tuple[str, int, str], Job]
    """Test scores by base, data seed and arm."""
    tuned: dict[tuple[str, Setting], Job]
    on_the_way: dict[tuple[int, str, int], Job]
    """Validation scores by data seed, arm and step."""
    again: list[Job]
    """The selected turns by fresh rollouts, one per data seed."""
    rates: dict[tuple[int, str], Job]
    """All turns by fresh rollouts of the base and of arms, by data seed and arm."""


def scores(path: Path) -> pl.DataFrame:
    """Mean score, and the number of rows without one, of each benchmark and kind of task."""
    rows = pl.read_parquet(path, columns=["benchmark", "category", "score"])
    return rows.group_by("benchmark", "category", maintain_order=True).agg(
        pl.col("score").mean(), pl.len().alias("n"), pl.col("score").null_count().alias("n_error")
    )


def mean_score(path: Path, benchmark: str) -> float:
    """Mean score of a benchmark; a row that was not measured is an error of the study and stops it."""
    rows = pl.read_parquet(path, columns=["benchmark", "score"]).filter(pl.col("benchmark") == benchmark)
    assert len(rows), f"{path} has no {benchmark}"
    assert not rows["score"].null_count(), f"{path} has rows of {benchmark} that were not measured"
    return float(rows["score"].to_numpy().mean())


def both(jobs: Jobs, path: Path) -> dict[str, float]:
    """In-domain success, and the mean of the skills."""
    return {"desk": mean_score(path, jobs.study.desk), "skills": mean_score(path, "skills")}


def runs(jobs: Jobs, scored: dict[tuple[str, int, str], Job]) -> pl.DataFrame:
    """One row per base, data seed and arm."""
    found = []
    for (base, seed, arm), job in scored.items():
        row: dict[str, Any] = {"base": base, "seed": seed, "arm": arm}
        found.append(row | both(jobs, job.output) | _turns(jobs, base, seed, arm, job))
    return pl.DataFrame(found)


def _turns(jobs: Jobs, base: str, seed: int, arm: str, job: Job) -> dict[str, int]:
    """Rollout turns of training and of the profile that came before it."""
    if arm == "base":
        return {"train_turns": 0, "profile_turns": 0}
    (model,) = job.needs
    metrics = pl.read_parquet(model.output / "metrics.parquet", columns=["step", "rollout_turns"])
    if jobs.study.arms[arm].copy_of:
        metrics = metrics.filter(pl.col("step") <= jobs.study.arms[arm].steps)
    return {
        "train_turns": int(metrics["rollout_turns"][-1]),
        "profile_turns": profile_turns(jobs, base, seed, jobs.study.arms[arm].table),
    }


def profile_turns(jobs: Jobs, base: str, seed: int, table: str) -> int:
    """Rollouts that were sampled to choose a table; random turns need none."""
    if table in ("candidates", "random"):
        return 0
    (profile,) = jobs.table(table, base, seed).needs
    return int(pl.read_parquet(profile.output, columns=["rollouts"])["rollouts"].list.len().sum())


def differences(runs: pl.DataFrame) -> pl.DataFrame:
    """Each claim over the data seeds: of all bases together, and of each base."""
    found = []
    there = set(runs["arm"])
    for part, question, arm, other, benchmark in CLAIMS:
        if not {arm, other} <= there:
            continue
        of = {name: runs.filter(pl.col("arm") == name).select("base", "seed", benchmark) for name in (arm, other)}
        delta = of[arm].join(of[other], on=["base", "seed"], suffix="_other", maintain_order="left")
        delta = delta.select("base", "seed", delta=pl.col(benchmark) - pl.col(f"{benchmark}_other"))
        each = [(str(key[0]), rows) for key, rows in delta.group_by("base", maintain_order=True)]
        of_seeds = delta.group_by("seed", maintain_order=True).agg(pl.col("delta").mean())
        for name, rows in [("all", of_seeds), *each] if len(each) > 1 else each:
            row = {"part": part, "question": question, "benchmark": benchmark, "bases": name}
            found.append(row | difference(rows["delta"].to_numpy()))
    return pl.DataFrame(found)


def difference(delta: np.ndarray) -> dict[str, Any]:
    """Mean of paired differences, its 95 % Student interval (nulls below three) and the sign-flip test's p."""
    n, mean = len(delta), float(delta.mean())
    if n < 3:
        return {"n": n, "mean": mean, "low": None, "high": None, "p": None}
    half = float(student.ppf(0.975, n - 1)) * float(delta.std(ddof=1)) / math.sqrt(n)
    return {"n": n, "mean": mean, "low": mean - half, "high": mean + half, "p": sign_flip_p(delta, 10_000, 0)}


def frontier(jobs: Jobs, tuned: dict[tuple[str, Setting], Job]) -> pl.DataFrame:
    """Validation scores of every setting that was tried in tuning."""
    return pl.DataFrame(
        {
            "arm": arm,
            "learning_rate": setting.learning_rate,
            "steps": setting.steps,
            **both(jobs, job.output),
        }
        for (arm, setting), job in tuned.items()
    )


def curves(jobs: Jobs, on_the_way: dict[tuple[int, str, int], Job]) -> pl.DataFrame:
    """Validation success against rollout turns, profiling counted."""
    base, found = jobs.study.first_base, []
    for (seed, arm, step), job in on_the_way.items():
        (model,) = job.needs
        metrics = pl.read_parquet(model.output / "metrics.parquet", columns=["step", "rollout_turns"])
        turns = int(metrics.filter(pl.col("step") == step)["rollout_turns"][0])
        row = {"seed": seed, "arm": arm, "step": step, "train_turns": turns}
        row["profile_turns"] = profile_turns(jobs, base, seed, jobs.study.arms[arm].table)
        found.append(row | both(jobs, job.output))
    return pl.DataFrame(found)


def turns_needed(curves: pl.DataFrame) -> list[dict[str, Any]]:
    """Rollout turns, profiling counted, after which each arm's mean curve has what end-to-end RL has at its end."""
    means = curves.group_by("arm", "step", maintain_order=True).agg(
        pl.col("desk").mean(), turns=(pl.col("train_turns") + pl.col("profile_turns")).mean()
    )
    target = float(means.filter(pl.col("arm") == "e2e")["desk"][-1])
    found = []
    for (arm,), rows in means.group_by("arm", maintain_order=True):
        profiled = float(curves.filter(pl.col("arm") == arm)["profile_turns"].mean())  # type: ignore[arg-type]
        points = [(turns, desk) for turns, desk in rows.select("turns", "desk").iter_rows() if turns > profiled]
        found.append({"arm": arm, "target": target, "turns": first_crossing(points, target)})
    return found


def first_crossing(points: list[tuple[float, float]], target: float) -> float | None:
    """Where a curve of (x, y), lines between its points, first has `target`; null if it never does.

    A curve that begins above it crosses at its first point, so what lies before that is not guessed.
    """
    for i, (x, y) in enumerate(points):
        if y >= target:
            if i == 0:
                return x
            x0, y0 = points[i - 1]
            return x0 + (x - x0) * (target - y0) / (y - y0)
    return None


def winners_curse(again: list[Job]) -> pl.DataFrame:
    """Pass rate of the selected turns: in the rollouts that selected them, and in fresh ones."""
    found = []
    for seed, job in enumerate(again):
        (pivots,) = job.needs
        columns = ["candidate_id", "reward_mean"]
        chosen, fresh = (pl.read_parquet(path, columns=columns) for path in (pivots.output, job.output))
        pairs = chosen.join(fresh, on="candidate_id", suffix="_again", maintain_order="left").drop_nulls()
        found.append(
            pairs.group_by(pl.col("reward_mean").alias("mean_at_filter"))
            .agg(
                pl.len().alias("n"),
                pl.col("reward_mean_again").mean().alias("mean_again"),
                pl.col("reward_mean_again").is_between(0, 1, closed="none").mean().alias("still_mixed"),
            )
            .sort("mean_at_filter")
            .select(pl.lit(seed).alias("seed"), pl.all())
        )
    return pl.concat(found)


def rates(measured: dict[tuple[int, str], Job], profiles: list[Job], max_mean: float) -> pl.DataFrame:
    """Fresh pass rate of each model on the turns, by their group in the base's profile.

    `kind` is the filter's: `selected` (rewards vary, mean below lambda), `too easy`, `all right`, `all wrong`. Compare
    with the base's own fresh rate: a turn that was all right at K rollouts is seldom right always.
    """
    mean = pl.col("reward_mean")
    constant = pl.when(mean == 0).then(pl.lit("all wrong")).when(mean == 1).then(pl.lit("all right"))
    kind = constant.when(mean < max_mean).then(pl.lit("selected")).otherwise(pl.lit("too easy"))
    found = []
    for (seed, arm), job in measured.items():
        known = pl.read_parquet(profiles[seed].output, columns=["candidate_id", "reward_mean"]).drop_nulls()
        fresh = pl.read_parquet(job.output, columns=["candidate_id", "reward_mean"])
        pairs = known.select("candidate_id", kind=kind).join(fresh, on="candidate_id", maintain_order="left")
        each = pairs.group_by("kind").agg(mean.count().alias("n"), mean.mean().alias("pass_rate")).sort("kind")
        found.append(each.select(pl.lit(seed).alias("seed"), pl.lit(arm).alias("arm"), pl.all()))
    return pl.concat(found)


def retention(scored: dict[tuple[str, int, str], Job]) -> pl.DataFrame:
    """Score of each skill."""
    found = []
    for (base, seed, arm), job in scored.items():
        rows = scores(job.output).filter(pl.col("benchmark") == "skills")
        found.append(
            rows.select(
                pl.lit(base).alias("base"), pl.lit(seed).alias("seed"), pl.lit(arm).alias("arm"), "category", "score"
            )
        )
    return pl.concat(found)


def write(jobs: Jobs, outcome: Outcome, folder: Path) -> None:
    """All tables as Parquet, and `tables.md`."""
    all_runs = runs(jobs, outcome.scored)
    made = {"runs": all_runs, "differences": differences(all_runs), "skills": retention(outcome.scored)}
    titles = {"base": "base"} | {name: arm.title for name, arm in jobs.study.arms.items()}
    parts = [
        markdown_arms(all_runs, titles),
        markdown_bases(all_runs, titles),
        markdown_differences(made["differences"]),
    ]
    if outcome.tuned:
        made["tuning"] = frontier(jobs, outcome.tuned)
    if outcome.on_the_way:
        made["curves"] = curves(jobs, outcome.on_the_way)
        parts.append(markdown_needed(turns_needed(made["curves"]), titles))
    if outcome.again:
        made["curse"] = winners_curse(outcome.again)
        parts.append(markdown_curse(made["curse"]))
    if outcome.rates:
        seeds = range(1 + max(seed for seed, _ in outcome.rates))
        profiles = [jobs.table("profile", jobs.study.first_base, seed) for seed in seeds]
        made["rates"] = rates(outcome.rates, profiles, jobs.study.max_mean)
        parts.append(markdown_rates(made["rates"], titles))
    for name, frame in made.items():
        frame.write_parquet(folder / f"{name}.parquet")
    (folder / "tables.md").write_text("\n\n".join(parts) + "\n")


def markdown_bases(runs: pl.DataFrame, titles: dict[str, str]) -> str:
    """In-domain success and skills of each arm on each base, means over data seeds."""
    bases = runs["base"].unique(maintain_order=True).to_list()
    lines = [
        f"| arm | {' | '.join(f'desk {base}' for base in bases)} | {' | '.join(f'skills {base}' for base in bases)} |",
        "| --- " * (1 + 2 * len(bases)) + "|",
    ]
    for (arm,), rows in runs.group_by("arm", maintain_order=True):
        of = dict(rows.group_by("base").agg(pl.struct(pl.col("desk", "skills").mean()).alias("v")).iter_rows())
        cells = [f"{of[base][name]:.3f}" if base in of else "" for name in ("desk", "skills") for base in bases]
        lines.append(f"| {titles[str(arm)]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown_needed(found: list[dict[str, Any]], titles: dict[str, str]) -> str:
    """Claim 4."""
    lines = ["| arm | validation success to reach | rollout turns, profiling counted |", "| --- | --- | --- |"]
    for row in found:
        turns = "not reached" if row["turns"] is None else f"{row['turns']:,.0f}"
        lines.append(f"| {titles[row['arm']]} | {row['target']:.3f} | {turns} |")
    return "\n".join(lines)


def markdown_curse(curse: pl.DataFrame) -> str:
    """The winner's curse of the filter, over seeds."""
    lines = ["| pass rate at the filter | turns | fresh pass rate | still mixed |", "| --- | --- | --- | --- |"]

    def weighted(name: str) -> pl.Expr:
        return (pl.col(name) * pl.col("n")).sum() / pl.col("n").sum()

    cells = [pl.col("n").sum(), weighted("mean_again"), weighted("still_mixed")]
    for rate, *row in curse.group_by("mean_at_filter").agg(cells).sort("mean_at_filter").iter_rows():
        lines.append("| {:.3f} | {} | {:.3f} | {:.2f} |".format(rate, *row))
    total = curse.select(weighted("mean_at_filter"), pl.col("n").sum(), *cells[1:]).row(0)
    return "\n".join([*lines, "| all: {:.3f} | {} | {:.3f} | {:.2f} |".format(*total)])


def markdown_rates(rates: pl.DataFrame, titles: dict[str, str]) -> str:
    """Fresh pass rates by the filter's verdict on the turns, over data seeds."""
    arms = rates["arm"].unique(maintain_order=True).to_list()
    lines = [f"| turns | number | {' | '.join(titles[arm] for arm in arms)} |", "| --- " * (2 + len(arms)) + "|"]
    for kind in ("all wrong", "selected", "too easy", "all right"):
        rows = rates.filter(pl.col("kind") == kind)
        if len(rows):
            rate = (pl.col("pass_rate") * pl.col("n")).sum() / pl.col("n").sum()
            of = dict(rows.group_by("arm").agg(rate).iter_rows())
            n = rows.filter(pl.col("arm") == arms[0])["n"].sum()
            lines.append(f"| {kind} | {n} | {' | '.join(f'{of[arm]:.3f}' for arm in arms)} |")
    return "\n".join(lines)


def markdown_arms(runs: pl.DataFrame, titles: dict[str, str]) -> str:
    """Means over runs, per arm, below an agent that does nothing."""
    numbers = ("desk", "skills", "train_turns", "profile_turns")
    rows = runs.group_by("arm", maintain_order=True).agg(
        pl.len().alias("n"), *(pl.col(name).mean() for name in numbers)
    )
    lines = [
        "| arm | runs | desk | skills | training turns | profiling turns |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| does nothing | | {DO_NOTHING['desk']:.3f} | {DO_NOTHING['skills']:.3f} | 0 | 0 |",
    ]
    for row in rows.iter_rows(named=True):
        turns = f"{row['train_turns']:,.0f} | {row['profile_turns']:,.0f}"
        lines.append(f"| {titles[row['arm']]} | {row['n']} | {row['desk']:.3f} | {row['skills']:.3f} | {turns} |")
    return "\n".join(lines)


def markdown_differences(found: pl.DataFrame) -> str:
    """Every claim with its interval."""
    lines = [
        "| part | question | bases | seeds | difference | 95 % | p |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found.iter_rows(named=True):
        interval = "" if row["low"] is None else f"[{row['low']:+.3f}, {row['high']:+.3f}] | {row['p']:.3f}"
        known = f"| {row['part']} | {row['question']} | {row['bases']} | {row['n']} | {row['mean']:+.3f} "
        lines.append(f"{known}| {interval or '|'} |")
    return "\n".join(lines)
