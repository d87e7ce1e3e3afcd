"""The study's figures: success against rollout turns, reward variance over steps, pass rates, skills, the frontier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes

from study.study import Job, Jobs

_SIZE = (6.4, 4.0)


def draw(jobs: Jobs, scored: dict[tuple[str, int, str], Job], folder: Path) -> None:
    """All figures, from the tables in the folder and the runs' own."""
    matplotlib.rcParams["svg.hashsalt"] = "pivotrl"  # the same ids in every run
    titles = {name: arm.title for name, arm in jobs.study.arms.items()}
    if (folder / "curves.parquet").exists():
        _save(folder / "turns.svg", lambda ax: _turns(ax, pl.read_parquet(folder / "curves.parquet"), titles))
    _save(folder / "variance.svg", lambda ax: _variance(ax, scored, titles))
    _save(folder / "pass-rates.svg", lambda ax: _pass_rates(ax, jobs, scored))
    _save(folder / "skills.svg", lambda ax: _skills(ax, pl.read_parquet(folder / "skills.parquet"), titles))
    if (folder / "tuning.parquet").exists():
        _save(folder / "frontier.svg", lambda ax: _frontier(ax, pl.read_parquet(folder / "tuning.parquet"), titles))


def _turns(ax: Axes, curves: pl.DataFrame, titles: dict[str, str]) -> None:
    means = curves.group_by("arm", "step").agg(pl.col("desk", "train_turns", "profile_turns").mean()).sort("step")
    for (arm,), rows in means.group_by("arm", maintain_order=True):
        turns = rows["train_turns"] + rows["profile_turns"]
        ax.plot(turns, rows["desk"], marker="o", label=titles[str(arm)])
    ax.set(xlabel="rollout turns, profiling counted", ylabel="desk success (validation)")
    ax.legend()


def _variance(ax: Axes, scored: dict[tuple[str, int, str], Job], titles: dict[str, str]) -> None:
    for wanted in ("pivotrl", "random"):
        found = []
        for (_, _, arm), job in scored.items():
            if arm == wanted:
                (model,) = job.needs
                rows = pl.read_parquet(model.output / "rollouts.parquet", columns=["step", "candidate_id", "reward"])
                found.append(rows.group_by("step", "candidate_id").agg(pl.col("reward").var(ddof=0)))
        steps = pl.concat(found).group_by("step").agg(pl.col("reward").mean()).sort("step")
        ax.plot(steps["step"], steps["reward"], label=titles[wanted])
    ax.set(xlabel="step", ylabel="reward variance within a group")
    ax.legend()


def _pass_rates(ax: Axes, jobs: Jobs, scored: dict[tuple[str, int, str], Job]) -> None:
    places = sorted({(base, seed) for base, seed, _ in scored})
    rates = [
        pl.read_parquet(jobs.table("profile", base, seed).output, columns=["reward_mean"])["reward_mean"].drop_nulls()
        for base, seed in places
    ]
    ax.hist(pl.concat(rates).to_list(), bins=jobs.study.k + 1, range=(0.0, 1.0))
    ax.set(xlabel=f"pass rate of {jobs.study.k} rollouts", ylabel="turns, all bases and seeds")


def _skills(ax: Axes, skills: pl.DataFrame, titles: dict[str, str]) -> None:
    wanted = ["base", "sft", "pivotrl", "e2e"]
    means = skills.group_by("arm", "category").agg(pl.col("score").mean())
    names = sorted(means["category"].unique())
    for i, arm in enumerate(wanted):
        of = dict(means.filter(pl.col("arm") == arm).select("category", "score").iter_rows())
        ax.bar([x + 0.2 * i for x in range(len(names))], [of[name] for name in names], 0.2, label=titles.get(arm, arm))
    ax.set_xticks([x + 0.3 for x in range(len(names))], names, rotation=30, ha="right")
    ax.set(ylabel="score")
    ax.legend(ncols=len(wanted), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _frontier(ax: Axes, tuning: pl.DataFrame, titles: dict[str, str]) -> None:
    for (arm,), rows in tuning.sort("learning_rate", "steps").group_by("arm", maintain_order=True):
        ax.plot(rows["desk"], rows["skills"], marker="o", linestyle="", label=titles[str(arm)])
        fallen = rows.filter(pl.col("skills") < pl.col("skills").max() - 0.05)
        for rate, desk, skills in fallen.select("learning_rate", "desk", "skills").iter_rows():
            ax.annotate(f" lr {rate:g}", (desk, skills), va="center")
    ax.set(xlabel="desk success (validation)", ylabel="skills (validation)")
    ax.legend()


def _save(path: Path, draw_on: Callable[[Axes], None]) -> None:
    figure, ax = plt.subplots(figsize=_SIZE, layout="constrained")
    draw_on(ax)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
