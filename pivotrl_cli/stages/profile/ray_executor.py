"""Windows of a profile on Ray Data: each is a block of one row, mapped by workers that hold the engine.

    driver    windows that the journal lacks ──> blocks ──> worker 1 .. W ──> journal, as they come ──> table, in order
    worker    opens the candidates by name, checks that its setup is the driver's, samples as the local run does

A row is the window's number and its journal entries; the states stay in the file. So the bytes are those of the local
run, and a restarted driver gives out what its journal lacks. Ray restarts a worker that dies, and its window is sampled
anew; if its machine is gone too, the run starts again with as many workers as find a place. A worker's `PivotRLError`
comes back as a value and is raised here.
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
from pivotrl_cli.stages.profile.meter import Meter
from pivotrl_cli.stages.profile.sampler import Sampler
from pivotrl_cli.stages.profile.samples import Results, Samples, journal_key, parse_journal_key
from pivotrl_cli.stages.profile.setup import Setup, open_sampler, open_setup
from pivotrl_cli.storage.journal import MemoryJournal
from pivotrl_cli.storage.provenance import differences
from pivotrl_cli.verifiers import asks_judge

RESTARTS = 3
"""How often Ray gives a window out again whose worker died, before the run starts with new workers."""
START_SECONDS = 600
"""Limit on starting the processes of all workers, before any engine opens; Ray itself would wait forever."""
NODE_SECONDS = 5
"""Wait before windows of a lost machine are given out again: Ray takes as long to see that it is gone."""
PARKED = "Prefetcher"
"""A thread of Ray Data that never ends if nothing is prefetched."""
THREADS_SECONDS = 30
"""How long the threads of Ray Data may take to end before Ray is shut down all the same."""
MAX_WORKER_ERRORS = 0.99
"""A worker stops by itself if more than this share fails; the run's own limit is over all workers, on the driver."""

Entries = dict[str, Any]
"""Entries of a journal."""


def sample_windows(setup: Setup, sampler: Sampler) -> Iterator[list[Samples]]:
    """Samples of each window, in order; they are journaled as soon as they come."""
    if any(map(asks_judge, setup.verifiers)):
        raise ConfigError(
            "--executor ray has no judge: its limit on calls is for one process",
            "profile with a rule, such as --verifier tool_call, then: pivotrl score --verifier NAME",
        )
    ids = setup.candidates.frame(["candidate_id"])["candidate_id"]
    keys = [ids.gather(window).to_list() for window in setup.plan.windows]
    left = _unfinished_windows(keys, setup, sampler)
    with ExitStack() as stack:
        results = stack.enter_context(_run_on_ray(setup, left)) if left else iter(())
        sampler.meter.start_clock()
        for number, window in enumerate(keys):
            while number in left:
                arrived, new, retries = next(results)
                sampler.journal.add(new)
                _count(sampler, keys[arrived], setup.earlier_samples(arrived), left.pop(arrived), new)
                sampler.meter.retries += retries
                sampler.check_error_rate()
            samples = sampler.all_from_journal(window, setup.earlier_samples(number))
            assert samples is not None, f"window {number} came back without all its samples"
            yield samples


def _unfinished_windows(keys: list[list[str]], setup: Setup, sampler: Sampler) -> dict[int, Entries]:
    """Windows that lack samples, or have failures to retry, with their journal entries; the others are counted."""
    names: dict[str, list[str]] = {}
    for name in sampler.journal:
        names.setdefault(parse_journal_key(name)[0], []).append(name)
    left: dict[int, Entries] = {}
    for number, window in enumerate(keys):
        earlier = setup.earlier_samples(number)
        entries = sampler.journal.read([name for key in window for name in names.get(key, ())])
        samples = sampler.all_from_journal(window, earlier) if entries else None
        if samples is None or any(r.error for one in samples for r in one.rollouts):
            left[number] = entries
        else:
            _count(sampler, window, earlier, entries, {})
    return left


def _count(sampler: Sampler, window: list[str], earlier: Results, old: Entries, new: Entries) -> None:
    """Count a whole window; a new entry replaces an old one of its key, which was retried."""
    samples = {journal_key(key, (0, len(one.rollouts))): one for key, one in earlier.items()}
    samples |= {key: Samples.model_validate(value) for key, value in (old | new).items()}
    sampler.meter.start_window(len(window))
    sampler.meter.add_recorded((one, len(one.rollouts)) for key, one in samples.items() if key not in new)
    sampler.meter.add_sampled([(samples[key], len(samples[key].rollouts)) for key in new], None)
    sampler.meter.end_window()


# ---- Ray ------------------------------------------------------------------------------------------------------------


@contextmanager
def _run_on_ray(setup: Setup, left: dict[int, Entries]) -> Iterator[Iterator[tuple[int, Entries, int]]]:
    """Results of windows as they come: number, new entries for the journal, how many samples were retried."""
    config = setup.config
    ray = _import_ray()
    _connect(ray, config)
    before = threading.enumerate()
    try:
        announce(config)
        workers, gpus = _count_workers(ray.cluster_resources(), config)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.wait_for_min_actors_s = START_SECONDS
        map_once = partial(_map_windows, ray, setup, max_workers=workers, gpus=gpus)
        with closing(_results(map_once, left, ray.exceptions)) as results:
            yield results
    finally:
        _join_new_threads(before)
        ray.shutdown()


def _join_new_threads(before: list[threading.Thread]) -> None:
    """Ray Data's threads end after its iterator is closed; one that drops a block after Ray's end exits the process."""
    deadline = time.monotonic() + THREADS_SECONDS
    for thread in threading.enumerate():
        if thread not in before and thread.name != PARKED:
            thread.join(max(0.0, deadline - time.monotonic()))


def _import_ray() -> Any:
    """Ray, with its log and its usage reports off."""
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
    """Connect to the cluster, or start a local Ray, with logical CPUs to spare: without any it would wait forever."""
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


def _count_workers(resources: dict[str, float], config: ProfileConfig) -> tuple[int, int]:
    """Number of workers, and GPUs of each; raises if Ray would wait for CPUs or GPUs that it does not have."""
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


def _map_windows(
    ray: Any, setup: Setup, left: dict[int, Entries], *, max_workers: int, gpus: int, restarted: bool
) -> Any:
    """The windows that are left, a block for each, mapped by workers.

    Ray waits until its initial workers have started. After a loss there may be no place for all of them, so then it
    starts with one, and adds more as far as the CPUs that are left allow.
    """
    workers = max_workers
    if restarted:
        workers = min(workers, max(1, int(ray.cluster_resources().get("CPU", 0)) - 1))
    blocks = [pa.table({"window": [number], "old": [pickle.dumps(old)]}) for number, old in left.items()]
    size = min(workers, len(left))
    pool = ray.data.ActorPoolStrategy(
        min_size=1, max_size=size, initial_size=1 if restarted else size, max_tasks_in_flight_per_actor=1
    )
    with warnings.catch_warnings():  # the options after num_gpus have no other place yet
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        return ray.data.from_arrow(blocks).map_batches(
            Worker,
            fn_constructor_args=[setup.config, str(Path.cwd()), setup.provenance.to_dict()],
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=RESTARTS,
        )


def _results(
    map_once: Callable[..., Any], left: dict[int, Entries], ray_errors: Any
) -> Generator[tuple[int, Entries, int]]:
    """Results of the windows that are left, which are given out again if workers are lost with their machine."""
    restarted = False
    while True:
        n_left = len(left)
        try:
            yield from _unpack(map_once(left, restarted=restarted))
            return
        except ray_errors.GetTimeoutError as error:
            raise RunError(
                f"Ray started no worker in {START_SECONDS} s", "see what else runs on it, or give fewer --workers"
            ) from error
        except (ray_errors.RayActorError, ray_errors.NodeDiedError, ray_errors.ObjectLostError) as error:
            if len(left) == n_left:
                raise RunError(
                    f"workers keep dying, and no window gets done: {' '.join(str(error).split())}",
                    "finished windows are kept; see Ray's logs, by default in /tmp/ray/session_latest/logs",
                ) from error
            time.sleep(NODE_SECONDS)
            restarted = True


def _unpack(mapped: Any) -> Generator[tuple[int, Entries, int]]:
    for batch in mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for number, result in zip(*(batch[name].to_pylist() for name in ("window", "result")), strict=True):
            entries = pickle.loads(result)
            if isinstance(entries, PivotRLError):
                raise entries
            yield number, *entries


class Worker:
    """A process of Ray's that samples windows, with an engine that opens for the first one."""

    def __init__(self, config: ProfileConfig, folder: str, provenance: dict[str, Any]) -> None:
        self._folder, self._provenance = folder, provenance
        limit = max(config.max_error_rate, MAX_WORKER_ERRORS)
        self._config = config.model_copy(
            update={"engine": provenance["fingerprints"]["engine"], "max_error_rate": limit}
        )
        self._stack = ExitStack()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Sample the window of a row."""
        results = [self._result(row["window"], pickle.loads(row["old"])) for row in batch.to_pylist()]
        return pa.table({"window": batch["window"], "result": pa.array(map(pickle.dumps, results), pa.large_binary())})

    def _result(self, number: int, old: Entries) -> tuple[Entries, int] | PivotRLError:
        try:
            return self._sample(number, old)
        except PivotRLError as error:
            return error

    def _sample(self, number: int, old: Entries) -> tuple[Entries, int]:
        setup, sampler = self._setup_and_sampler
        n_before = sampler.meter.retries
        assert isinstance(sampler.journal, MemoryJournal)
        sampler.journal.clear()
        sampler.journal.update(old)
        for _ in sampler.run([setup.window(number)]):
            pass  # the driver reads the samples from the journal entries
        new = {key: value for key, value in sampler.journal.items() if old.get(key) != value}
        return new, sampler.meter.retries - n_before

    @cached_property
    def _setup_and_sampler(self) -> tuple[Setup, Sampler]:
        """The setup of the local run; file names are looked up from the folder that the driver runs in."""
        os.chdir(self._folder)
        setup = self._stack.enter_context(open_setup(self._config))
        if changed := differences(self._provenance, setup.provenance.to_dict()):
            raise ConfigError(
                f"the worker on {socket.gethostname()} differs from the driver: {'; '.join(changed)}",
                "all machines need the same files and versions under the same names",
            )
        meter = Meter(Progress("", 0, "", log_seconds=float("inf")), setup.config.n)
        return setup, self._stack.enter_context(open_sampler(setup, MemoryJournal(), meter))
