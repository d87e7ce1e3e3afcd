"""The paper's claims on the embedded world: python -m study [--seeds N] [--jobs 2] [-o results]

Tunes every arm on the validation split, trains all arms on all bases and data seeds, scores them on the test split, and
writes tables and figures. Outputs that exist are kept, so run the same command again to resume.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from study import figures, tables
from study.run import Failed, run_all
from study.study import Job, Jobs, Setting, Study

CURVES = ("pivotrl", "random", "e2e")
"""Arms whose success is also measured during training, on the first base."""
RATES = ("sft", "pivotrl", "random")
"""Arms whose pass rates are measured on every turn of the demonstrations, on the first base."""


def tuning(jobs: Jobs) -> dict[tuple[str, Setting], Job]:
    """Validation scores of each arm at each rate, halfway and at the end."""
    study, base = jobs.study, jobs.study.first_base
    found = {}
    for name, arm in study.arms.items():
        for rate in arm.grid:
            assert arm.steps is not None
            run = f"tune-{name}-{rate:g}"
            model = jobs.model(name, base, study.tuning_seed, Setting(rate, arm.steps), run)
            for steps in (arm.steps // 2, arm.steps):
                output = jobs.place(base, study.tuning_seed) / f"eval-{run}-{steps}.parquet"
                at = None if steps == arm.steps else steps
                found[name, Setting(rate, steps)] = jobs.evaluation(model, output, "val", at)
    return found


def choose(study: Study, tuned: dict[tuple[str, Setting], Job]) -> dict[str, Setting]:
    """The setting of each arm with the highest validation success; among equals the gentlest."""
    chosen = {}
    for name in study.tuned:
        scores = {
            setting: tables.mean_score(job.output, study.desk) for (of, setting), job in tuned.items() if of == name
        }
        chosen[name] = min(scores, key=lambda s: (-scores[s], s.learning_rate, s.steps))
    return {name: chosen[arm.like or arm.copy_of or name].of(arm) for name, arm in study.arms.items()}


def main_jobs(jobs: Jobs, chosen: dict[str, Setting], seeds: int) -> dict[tuple[str, int, str], Job]:
    """Test scores by base, data seed and arm, and of the bases: seed after seed, each on all bases."""
    study, found = jobs.study, {}
    for seed in range(seeds):
        for base, folder in study.bases.items():
            found[base, seed, "base"] = jobs.evaluation(folder, jobs.folder / base / "eval.parquet", "test")
            arms = (*study.tuned, *study.copies)
            found |= {(base, seed, name): jobs.scored(name, base, seed, chosen) for name in arms}
    return found


def variant_jobs(jobs: Jobs, chosen: dict[str, Setting], seeds: int) -> dict[tuple[str, int, str], Job]:
    """Test scores of the variants, on the first base."""
    base = jobs.study.first_base
    return {
        (base, seed, name): jobs.scored(name, base, seed, chosen)
        for seed in range(min(seeds, jobs.study.variant_seeds))
        for name in jobs.study.variants
    }


def curve_jobs(jobs: Jobs, chosen: dict[str, Setting], seeds: int) -> dict[tuple[int, str, int], Job]:
    """Validation scores during training."""
    base, found = jobs.study.first_base, {}
    for seed in range(min(seeds, jobs.study.variant_seeds)):
        for name in CURVES:
            setting, every = chosen[name], int(jobs.study.arms[name].flags["save_every"])
            model = jobs.model(name, base, seed, setting)
            for step in range(every, setting.steps + 1, every):
                output = jobs.place(base, seed) / f"val-{name}-{step}.parquet"
                at = None if step == setting.steps else step
                found[seed, name, step] = jobs.evaluation(model, output, "val", at)
    return found


def rate_jobs(jobs: Jobs, chosen: dict[str, Setting], seeds: int) -> dict[tuple[int, str], Job]:
    """Pass rates of the first base and of models trained from it, on all turns of the demonstrations."""
    base, found = jobs.study.first_base, {}
    for seed in range(min(seeds, jobs.study.variant_seeds)):
        source, place = jobs.table("candidates", base, seed), jobs.place(base, seed)
        models: dict[str, Job | str] = {"base": jobs.study.bases[base]}
        models |= {name: jobs.model(name, base, seed, chosen[name]) for name in RATES}
        for name, model in models.items():
            found[seed, name] = jobs.measured(source, model, place / f"turns-{name}.parquet", seed)
    return found


def main() -> None:
    """Run the missing jobs and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, help="data seeds; those of the study by default")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time, each on one thread")
    parser.add_argument("--study", type=Path, default=Path(__file__).with_name("study.toml"))
    parser.add_argument(
        "--first-look", type=Path, help="only the tuned arms, with the settings of this chosen.json of an earlier run"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/reproduce"), help="folder of the models and tables of all runs"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    study = Study.read(options.study)
    jobs, seeds = Jobs(study, options.folder), options.seeds or study.seeds
    try:
        if options.first_look:
            tuned, chosen = {}, read_settings(options.first_look)
        else:
            tuned = tuning(jobs)
            run_all(tuned.values(), options.jobs)
            chosen = choose(study, tuned)
        scored, curves, again, rates = main_jobs(jobs, chosen, seeds), {}, [], {}
        if not options.first_look:
            scored |= variant_jobs(jobs, chosen, seeds)
            again = [jobs.table("again", study.first_base, seed) for seed in range(seeds)]
            curves, rates = curve_jobs(jobs, chosen, seeds), rate_jobs(jobs, chosen, seeds)
        run_all([*scored.values(), *again, *curves.values(), *rates.values()], options.jobs)
    except Failed as error:
        sys.exit(str(error))
    options.output.mkdir(parents=True, exist_ok=True)
    settings = {name: asdict(setting) for name, setting in chosen.items()}
    (options.output / "chosen.json").write_text(json.dumps(settings, indent=1) + "\n")
    tables.write(jobs, tables.Outcome(scored, tuned, curves, again, rates), options.output)
    figures.draw(jobs, scored, options.output)


def read_settings(path: Path) -> dict[str, Setting]:
    """The settings that an earlier run chose."""
    return {name: Setting(**setting) for name, setting in json.loads(path.read_text()).items()}


if __name__ == "__main__":
    main()
