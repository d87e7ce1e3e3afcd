"""tau2-bench in this process: airline, retail and telecom, with the tasks of the package inspect-evals (extra `tau`).

The argument names a split of the package, `tau2_airline:test` or `tau2_retail:train`; without one it is `base`, all
published tasks, for which `DO_NOTHING` is known. The user is whoever `--user-url` and `--user-model` name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from pivotrl_cli.benchmarks import Setting, require_split
from pivotrl_cli.environments import Episode, SimulatedUser
from pivotrl_cli.environments.tau_episode import Domain, TauEpisode
from pivotrl_cli.environments.tau_world import schemas
from pivotrl_cli.errors import ConfigError, MissingExtra


def airline(setting: Setting) -> Sequence[Episode]:
    return episodes("airline", setting)


def retail(setting: Setting) -> Sequence[Episode]:
    return episodes("retail", setting)


def telecom(setting: Setting) -> Sequence[Episode]:
    return episodes("telecom", setting)


def episodes(name: str, setting: Setting) -> list[Episode]:
    """The first tasks of a split, in the package's order."""
    require_split(f"tau2_{name}", setting)
    split, folder = setting.argument or "base", _module("utils").TAU2_DATA_DIR / "domains" / name
    splits = json.loads((folder / "split_tasks.json").read_text(encoding="utf-8"))
    if split not in splits:
        raise ConfigError(f"tau2_{name} has no split {split!r}", f"known: {', '.join(sorted(splits))}")
    chosen = set(splits[split])
    packed = folder / "tasks.json.gz"
    tasks = _module("utils").load_file(packed if packed.exists() else packed.with_suffix(""))
    records = [record for record in tasks if record["id"] in chosen]
    assert setting.user is not None, "the stage asks for one"
    return [start(name, record, setting.user, setting.trial) for record in records[: setting.limit]]


def start(name: str, record: dict[str, Any], user: SimulatedUser, trial: int = 0) -> TauEpisode:
    """An episode of a task as tau2-bench writes it; it begins with `begin()`."""
    dataset = _module(f"{name}.dataset")
    task = _module("data_model.tasks").Task.model_validate(record)
    prompt = dataset.get_record_to_sample("pivotrl")(record).input[0].text
    return TauEpisode(domain(name), task, prompt, user, f"tau2_{name}/{task.id}/{trial}")


@cache
def domain(name: str) -> Domain:
    arguments = {"workflow": False} if name == "telecom" else {}
    policy = _module(f"{name}.agents").get_domain_policy(**arguments)
    bare = policy.strip().removeprefix("<policy>").removesuffix("</policy>").strip()
    return Domain(name, bare, schemas(name, "assistant"), schemas(name, "user"))


def _module(name: str) -> Any:
    try:
        return import_module(f"inspect_evals.tau2.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra("the benchmarks tau2_*", "tau") from error
