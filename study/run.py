"""Runs jobs, each after those it needs, a few at a time; a run that was stopped resumes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from study.study import Job


class Failed(Exception):
    """A command failed; the jobs that do not need its output were still run."""


def run_all(jobs: Iterable[Job], n_workers: int) -> None:
    """Run the jobs and all that they need, each once; raises `Failed` at the end where any failed.

    A job that an earlier run finished is skipped unless something it needs is run again.
    """
    every = list(dict.fromkeys(_with_needs(jobs)))
    done: set[Job] = set()
    for job in every:
        if _finished(job) and done.issuperset(job.needs):
            done.add(job)
    waiting = [job for job in every if job not in done]
    failed: dict[Job, str] = {}
    running: dict[Future[str | None], Job] = {}
    with ThreadPoolExecutor(n_workers) as pool:
        while waiting or running:
            for job in [job for job in waiting if failed.keys() & set(job.needs)]:
                waiting.remove(job)
                failed[job] = "needs what failed"
            ready = [job for job in waiting if done.issuperset(job.needs)]
            for job in ready[: n_workers - len(running)]:
                waiting.remove(job)
                running[pool.submit(_run, job)] = job
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                job, error = running.pop(future), future.result()
                if error is None:
                    done.add(job)
                else:
                    failed[job] = error
    if failed:
        raise Failed("\n".join(f"{job.output}: {error}" for job, error in failed.items()))


def _with_needs(jobs: Iterable[Job]) -> Iterable[Job]:
    for job in jobs:
        yield from _with_needs(job.needs)
        yield job


def _note(job: Job) -> Path:
    """Where the command of a finished job is kept."""
    return job.output.with_name(f".{job.output.name}.done")


def _finished(job: Job) -> bool:
    note = _note(job)
    return job.output.exists() and note.exists() and note.read_text() == "\n".join(job.command)


def _run(job: Job) -> str | None:
    """Run one command on one thread, unless its output is there; returns its error."""
    started = time.monotonic()
    job.output.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.run(
        [sys.executable, "-m", "pivotrl_cli", *job.command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if process.returncode == 0:
        _note(job).write_text("\n".join(job.command))
    print(f"{'failed' if process.returncode else 'done':<7}{job.output} {seconds:.0f} s", file=sys.stderr, flush=True)
    return process.stderr.strip()[-2000:] if process.returncode else None
