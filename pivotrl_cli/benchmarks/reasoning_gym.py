"""Procedural puzzles of the package reasoning-gym (extra `reasoning`): out of the domain of any agent, never memorised.

Every question is drawn from a seed, so there is nothing to download; the score is the package's own, some of which give
part of a point for a wrong answer in the right form, and `exact` is 1 for a full score alone. The argument names tasks,
`reasoning-gym:leg_counting,gcd`; without one it is `TASKS`, in turn. Left out are the tasks whose scorer runs the
answer through Python's `eval` or a parser that does: model output is never executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from pivotrl_cli.benchmarks import Setting, require_split
from pivotrl_cli.environments import Episode
from pivotrl_cli.errors import ConfigError, MissingExtra
from pivotrl_cli.rows import Message

TASKS = (
    *("basic_arithmetic", "chain_sum", "gcd", "calendar_arithmetic", "time_intervals", "leg_counting"),
    *("family_relationships", "syllogism", "knights_knaves", "letter_counting", "spell_backward", "word_sorting"),
    *("number_filtering", "caesar_cipher", "course_schedule", "shortest_path", "maze", "mini_sudoku"),
    *("number_sequence", "simple_equations"),
)
"""Of arithmetic, dates, logic, words, graphs, games and induction, each quick to draw."""

_RUNS_ANSWERS = frozenset(
    [
        *("string_insertion", "spiral_matrix", "binary_matrix", "n_queens", "puzzle24", "countdown"),
        *("simple_integration", "intermediate_integration", "polynomial_multiplication"),
    ]
)
N_ITEMS = 200
"""Items by default."""
_SEEDS = {"test": 0, "val": 1}


class PuzzleEpisode:
    """One question, one answer between `<answer>` tags."""

    tools = "[]"

    def __init__(self, name: str, number: int, dataset: Any, system: str, read: Any) -> None:
        self.task_id = self.cluster = f"{name}-{number}"
        self.category = name
        self._entry, self._dataset, self._read = dataset[number], dataset, read
        self.state = [Message(role="system", content=system), Message(role="user", content=self._entry["question"])]
        self.done = False

    def step(self, action: Message) -> None:
        self.state.append(action)
        self.done = True

    def score(self) -> float:
        """The package's score; 0 for an answer that it cannot read."""
        answer = self._read(self.state[-1].content) if self.done else None
        try:
            return min(1.0, max(0.0, float(self._dataset.score_answer(answer, self._entry))))
        except Exception:  # some scorers raise on an answer of another form; the answer is wrong
            return 0.0

    def metrics(self) -> dict[str, float]:
        return {"exact": float(self.score() == 1.0)}


def episodes(setting: Setting) -> Sequence[Episode]:
    """Questions of the named tasks, the tasks in turn."""
    try:
        gym: Any = import_module("reasoning_gym")
        known = import_module("reasoning_gym.factory").DATASETS
        utils = import_module("reasoning_gym.utils")
    except ModuleNotFoundError as error:
        raise MissingExtra("benchmark reasoning-gym", "reasoning") from error
    names = _names(setting.argument, known)
    n = setting.limit or N_ITEMS
    rounds = -(-n // len(names))
    seed = _SEEDS[require_split("reasoning-gym", setting)]
    datasets = {name: gym.create_dataset(name, size=rounds, seed=seed) for name in names}
    system, read = utils.SYSTEM_PROMPTS["default"], utils.extract_answer
    pairs = [(name, number) for number in range(rounds) for name in names]
    return [PuzzleEpisode(name, number, datasets[name], system, read) for name, number in pairs[:n]]


def _names(argument: str, known: Any) -> list[str]:
    names = [name for name in argument.split(",") if name] or list(TASKS)
    for name in names:
        if name in _RUNS_ANSWERS:
            raise ConfigError(f"reasoning-gym task {name!r} would execute model output", "leave it out")
        if name not in known or name == "composite":
            choice = ", ".join(sorted(set(known) - _RUNS_ANSWERS - {"composite"}))
            raise ConfigError(f"unknown reasoning-gym task {name!r}", f"known: {choice}")
    return list(dict.fromkeys(names))
