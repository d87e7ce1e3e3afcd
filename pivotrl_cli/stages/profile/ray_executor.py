"""Windows of a profile on Ray Data: each is a block of one row, mapped by workers that hold the engine.

    driver    which windows the journal lacks ──> blocks ──> worker 1 .. W ──> journal, as they come ──> table, in order
    worker    opens the candidates by name, checks that all is as the driver has it, samples as the local run does

A row is the window's number and what the journal has of it; the states stay in the file. So the bytes are those of the
local run, and a driver that was killed gives out what its journal lacks. A worker that dies is started again by Ray and
its window sampled anew; where its machine went too, the run starts again with as many workers as find a place. What a
worker cannot do and the user can mend comes back as a value and is raised here.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pivotrl_cli.configs import ProfileConfig
from pivotrl_cli.engines import announce, choose
from pivotrl_cli.errors import ConfigError, MissingExtra, PivotRLError, RunError
from pivotrl_cli.progress import Progress
from pivotrl_cli.rows import Candidate
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.profile.run import (
    Earlier,
    earlier_windows,
    opened_when_needed,
    provenance_of,
    smaller_n,
    strategy,
    verifier_names,
)
from pivotrl_cli.stages.profile.sampler import Sampled, Sampler, journal_key, parse_journal_key
from pivotrl_cli.stages.profile.windows import Plan
from pivotrl_cli.storage.journal import Journal, Notes
from pivotrl_cli.storage.provenance import Provenance, differences
from pivotrl_cli.storage.table import Table, rows_of
from pivotrl_cli.verifiers import asks_judge, load_verifier

RESTARTS = 3
"""How often Ray gives a window out again whose worker died, before the run starts with new workers."""
START_SECONDS = 600
"""Until the processes of all workers must stand, with no engine yet; Ray itself would wait for ever."""
NODE_SECONDS = 5
"""Before windows are given out again whose worker's machine went away: Ray takes as long to see that it is gone."""
PARKED = "Prefetcher"
"""A thread of Ray Data that has nothing to do where nothing is prefetched, and never ends."""
THREADS_SECONDS = 30
"""How long the threads of Ray Data may take to end before Ray is shut down all the same."""
HOPELESS = 0.99
"""A worker stops by itself where more than this share fails; the run's own limit is over all workers, on the driver."""

Notebook = dict[str, Any]
"""Entries of a journal."""


def sampled_windows(
    candidates: Table[Candidate], plan: Plan, sampler: Sampler, earlier: Earlier, provenance: Provenance
) -> Iterator[list[Sampled]]:
    """The samples of each window, in order; they are in the journal as soon as they come."""
    config, journal = sampler.config, sampler.journal
    assert isinstance(journal, Journal), "an executor needs an output file"
    if any(map(asks_judge, verifier_names(candidates, config))):
        raise ConfigError(
            "--executor ray has no judge: its limit on calls is for one process",
            "profile with a rule, such as --verifier tool_call, then: pivotrl score --verifier NAME",
        )
    ids = candidates.frame(["candidate_id"])["candidate_id"]
    keys = [ids.gather(window).to_list() for window in plan.windows]
    left = _left(keys, sampler, journal, earlier)
    with ExitStack() as stack:
        results = stack.enter_context(_on_ray(config, provenance, left)) if left else iter(())
        sampler.meter.start()
        for number in range(len(plan.windows)):
            while number in left:
                arrived, new, retries = next(results)
                journal.add(new)
                _count(sampler, keys[arrived], earlier(arrived), left.pop(arrived), new)
                sampler.meter.retries += retries
                sampler.stop_above_error_rate()
            found = sampler.recorded(keys[number], earlier(number))
            assert found is not None, f"window {number} came back without all its samples"
            yield found


def _left(keys: list[list[str]], sampler: Sampler, journal: Journal, earlier: Earlier) -> dict[int, Notebook]:
    """Numbers of the windows that are to be sampled, or have failures to be tried again, with what there is of them."""
    names: dict[str, list[str]] = {}
    for name in journal:
        names.setdefault(parse_journal_key(name), []).append(name)
    left: dict[int, Notebook] = {}
    for number, theirs in enumerate(keys):
        entries = journal.read([name for key in theirs for name in names.get(key, ())])
        found = sampler.recorded(theirs, earlier(number)) if entries else None
        if found is None or any(r.error for one in found for r in one.rollouts):
            left[number] = entries
        else:
            _count(sampler, theirs, earlier(number), entries, {})
    return left


def _count(sampler: Sampler, keys: list[str], earlier: dict[str, Sampled], old: Notebook, new: Notebook) -> None:
    """Count a whole window; an entry with the name of another one is what came of trying it again."""
    meter = sampler.meter
    parts = {journal_key(key, (0, len(part.rollouts))): part for key, part in earlier.items()}
    parts |= {name: Sampled.model_validate(value) for name, value in (old | new).items()}
    meter.begin_window(len(keys))
    meter.old((part, len(part.rollouts)) for name, part in parts.items() if name not in new)
    for name in new:
        meter.new([parts[name]], len(parts[name].rollouts), None)
    meter.end_window()


# ---- Ray ------------------------------------------------------------------------------------------------------------


@contextmanager
def _on_ray(
    config: ProfileConfig, provenance: Provenance, left: dict[int, Notebook]
) -> Iterator[Iterator[tuple[int, Notebook, int]]]:
    """Results of windows as they come: number, new entries for the journal, how many samples were tried again."""
    ray = _imported()
    _connect(ray, config)
    before = threading.enumerate()
    try:
        announce(config)
        workers, gpus = _fleet(ray.cluster_resources(), config)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.wait_for_min_actors_s = START_SECONDS
        map_once = partial(_mapped, ray, config, provenance, most=workers, gpus=gpus)
        with closing(_results(map_once, left, ray.exceptions)) as results:
            yield results
    finally:
        _wait_for_threads_but(before)
        ray.shutdown()


def _wait_for_threads_but(before: list[threading.Thread]) -> None:
    """Ray Data's threads end after its iterator is closed; one that drops a block after Ray's end exits the process."""
    deadline = time.monotonic() + THREADS_SECONDS
    for thread in threading.enumerate():
        if thread not in before and thread.name != PARKED:
            thread.join(max(0.0, deadline - time.monotonic()))


def _imported() -> Any:
    """Ray, which is told to say little and to report nothing to its makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("--executor ray", "ray") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def _connect(ray: Any, config: ProfileConfig) -> None:
    """To the cluster, or to a Ray of our own; one without idle logical CPUs beside the workers' would wait for ever."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if config.ray_address is not None:
            ray.init(address=config.ray_address, **quiet)
        else:
            n = 2 + max(config.workers or 1, os.cpu_count() or 1)
            ray.init(address="local", num_cpus=n, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"--ray-address {config.ray_address or 'local'}: {' '.join(str(error).split())}",
            "start a cluster with: ray start --head",
        ) from error


def _fleet(resources: dict[str, float], config: ProfileConfig) -> tuple[int, int]:
    """How many workers, and GPUs of each; raises where Ray would wait for what is not there."""
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    on_gpu = gpus > 0 and config.device != "cpu" and choose(config) in ("hf", "vllm")
    each = config.tensor_parallel if on_gpu else 0
    workers = config.workers or (max(1, gpus // each) if each else 1)
    if workers >= cpus or workers * each > gpus:
        raise ConfigError(
            f"{workers} workers need {workers + 1} CPUs and {workers * each} GPUs, and Ray has {cpus} and {gpus}",
            "give fewer --workers, or a larger cluster",
        )
    return workers, each


def _mapped(
    ray: Any,
    config: ProfileConfig,
    provenance: Provenance,
    left: dict[int, Notebook],
    *,
    most: int,
    gpus: int,
    anew: bool,
) -> Any:
    """What is left, a block for each window, mapped by workers.

    Ray waits until all that it begins with have started. After a loss there may be no place for all of them, so then it
    begins with one, and has more as far as the CPUs that are left allow.
    """
    workers = min(most, max(1, int(ray.cluster_resources().get("CPU", 0)) - 1)) if anew else most
    blocks = [pa.table({"window": [number], "old": [pickle.dumps(old)]}) for number, old in left.items()]
    size = min(workers, len(left))
    pool = ray.data.ActorPoolStrategy(
        min_size=1, max_size=size, initial_size=1 if anew else size, max_tasks_in_flight_per_actor=1
    )
    with warnings.catch_warnings():  # the options after num_gpus have no other place yet
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        return ray.data.from_arrow(blocks).map_batches(
            Worker,
            fn_constructor_args=[config, str(Path.cwd()), provenance.to_dict()],
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=RESTARTS,
        )


def _results(
    map_once: Callable[..., Any], left: dict[int, Notebook], ray_errors: Any
) -> Generator[tuple[int, Notebook, int]]:
    """What is left, given out again where workers went for good, as with a machine."""
    anew = False
    while True:
        n_left = len(left)
        try:
            yield from _unpacked(map_once(left, anew=anew))
            return
        except ray_errors.GetTimeoutError as error:
            raise RunError(
                f"Ray started no worker in {START_SECONDS} s", "see what else runs on it, or give fewer --workers"
            ) from error
        except (ray_errors.RayActorError, ray_errors.NodeDiedError, ray_errors.ObjectLostError) as error:
            if len(left) == n_left:
                raise RunError(
                    f"workers keep dying, and no window gets done: {' '.join(str(error).split())}",
                    "what is done is kept; see Ray's logs, by default in /tmp/ray/session_latest/logs",
                ) from error
            time.sleep(NODE_SECONDS)
            anew = True


def _unpacked(mapped: Any) -> Generator[tuple[int, Notebook, int]]:
    for batch in mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for number, result in zip(*(batch[name].to_pylist() for name in ("window", "result")), strict=True):
            found = pickle.loads(result)
            if isinstance(found, PivotRLError):
                raise found
            yield number, *found


class Worker:
    """One process of Ray's: samples the windows that it is given, with an engine that is opened for the first."""

    def __init__(self, config: ProfileConfig, folder: str, provenance: dict[str, Any]) -> None:
        self._folder, self._provenance = folder, provenance
        limit = max(config.max_error_rate, HOPELESS)
        self._config = config.model_copy(
            update={"engine": provenance["fingerprints"]["engine"], "max_error_rate": limit}
        )
        self._stack = ExitStack()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Sample the window of a row."""
        results = [self._result(row["window"], pickle.loads(row["old"])) for row in batch.to_pylist()]
        return pa.table({"window": batch["window"], "result": pa.array(map(pickle.dumps, results), pa.large_binary())})

    def _result(self, number: int, old: Notebook) -> tuple[Notebook, int] | PivotRLError:
        try:
            return self._sample(number, old)
        except PivotRLError as error:
            return error

    def _sample(self, number: int, old: Notebook) -> tuple[Notebook, int]:
        candidates, plan, sampler, earlier = self._parts
        notes, before = sampler.journal, sampler.meter.retries
        assert isinstance(notes, Notes)
        notes.clear()
        notes.update(old)
        rows = rows_of(candidates.take(plan.windows[number]), Candidate, candidates.name)
        sampler.window(list(rows), earlier(number))
        new = {name: value for name, value in notes.items() if old.get(name) != value}
        return new, sampler.meter.retries - before

    @cached_property
    def _parts(self) -> tuple[Table[Candidate], Plan, Sampler, Earlier]:
        """As `profile.run` has them; names are looked up from the folder that the driver runs in."""
        os.chdir(self._folder)
        config, enter = self._config, self._stack.enter_context
        candidates = enter(Table.open(config.candidates, Candidate))
        verifiers = {name: load_verifier(name, None) for name in verifier_names(candidates, config)}
        provenance = provenance_of(candidates, config, verifiers)
        if changed := differences(self._provenance, provenance.to_dict()):
            raise ConfigError(
                f"the worker on {socket.gethostname()} has something else than the driver: {'; '.join(changed)}",
                "all machines need the same files and versions under the same names",
            )
        plan = Plan.of(candidates, config)
        meter = Meter(Progress("", 0, "", log_seconds=float("inf")), config.n)
        engine = enter(opened_when_needed(config, meter))
        earlier = enter(earlier_windows(config, plan, smaller_n(config, provenance)))
        verifier_of = lambda candidate: verifiers[config.verifier or candidate.verifier]  # noqa: E731
        return candidates, plan, Sampler(engine, verifier_of, strategy(config), config, Notes(), meter), earlier
