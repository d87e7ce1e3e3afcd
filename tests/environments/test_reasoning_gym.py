"""reasoning-gym as episodes: the package's own answers score 1, another one less, and no answer is ever executed."""

from __future__ import annotations

import inspect
from importlib.util import find_spec

import pytest

from pivotrl_cli.benchmarks import Setting, open_benchmark
from pivotrl_cli.benchmarks.reasoning_gym import _RUNS_ANSWERS, TASKS
from pivotrl_cli.errors import ConfigError, MissingExtra
from pivotrl_cli.rows import Message

installed = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="the reasoning extra is not installed")
benchmark = open_benchmark("reasoning-gym")


def answered(episode, text: str):
    episode.step(Message(role="assistant", content=text))
    return episode


@installed
def test_right_answers_score_one_and_wrong_ones_less():
    episodes = benchmark.make(Setting(limit=2 * len(TASKS)))
    assert [e.task_id for e in episodes[:2]] == ["basic_arithmetic-0", "chain_sum-0"]
    assert {e.category for e in episodes} == set(TASKS)
    for episode in episodes:
        assert episode.score() == 0.0
        answered(episode, f"<answer>{episode._entry['answer']}</answer>")
        assert (episode.done, episode.score(), episode.metrics()) == (True, 1.0, {"exact": 1.0})
    refused = [answered(e, "I cannot help with that.") for e in benchmark.make(Setting(limit=40))]
    assert sum(e.score() for e in refused) == 0.0


@installed
def test_questions_are_the_same_every_time_and_others_in_val():
    def questions(**setting) -> list[str]:
        return [e.state[1].content for e in benchmark.make(Setting(limit=20, **setting))]

    assert questions() == questions(trial=1) == questions(seed=5)
    assert questions() != questions(split="val")
    assert [e.task_id for e in benchmark.make(Setting(argument="gcd,maze", limit=3))] == ["gcd-0", "maze-0", "gcd-1"]
    assert benchmark.version().startswith("reasoning-gym 0.")


@installed
def test_an_answer_that_a_scorer_cannot_read_is_wrong():
    (episode,) = benchmark.make(Setting(argument="prime_factorization", limit=1))
    assert answered(episode, "<answer>two times three</answer>").score() == 0.0


@installed
def test_tasks_whose_scorers_execute_answers_are_refused():
    import reasoning_gym

    assert not set(TASKS) & _RUNS_ANSWERS
    executing = {
        name
        for name, (kind, _) in reasoning_gym.factory.DATASETS.items()
        if any(word in inspect.getsource(kind.score_answer) for word in ("eval(", "parse_expr(", "exec(", "sympify("))
    }
    assert executing - _RUNS_ANSWERS <= {"number_sorting", "propositional_logic"}  # these read their own text
    with pytest.raises(ConfigError, match="'countdown' would execute model output"):
        benchmark.make(Setting(argument="countdown"))
    with pytest.raises(ConfigError, match="unknown reasoning-gym task 'gdc'"):
        benchmark.make(Setting(argument="gdc"))


@pytest.mark.skipif(find_spec("reasoning_gym") is not None, reason="the reasoning extra is installed")
def test_it_names_its_extra():
    with pytest.raises(MissingExtra, match="needs the reasoning extra"):
        benchmark.make(Setting())
