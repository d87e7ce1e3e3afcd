from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import replace

import pytest
from tables import RIGHT, TOOLS, calls, candidate, read, says, user, write

from pivotrl_cli.benchmarks import Setting, open_benchmark
from pivotrl_cli.benchmarks.recorded_turns import by_trajectory, is_valid
from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.engines import Completion, Group, Request, Sampling, sample_seed
from pivotrl_cli.errors import ConfigError, InputError, OutputError, RunError
from pivotrl_cli.importers.results import result
from pivotrl_cli.model.chat import UnparsableError, parse_hermes
from pivotrl_cli.rows import EvalResult, Message, ToolCall
from pivotrl_cli.stages.eval import run as stage
from pivotrl_cli.stages.eval.summary import summarize
from pivotrl_cli.stages.shared.episodes import Run, play
from pivotrl_cli.stats import rate_interval
from pivotrl_cli.storage.journal import MemoryJournal

CONFIG = EvalConfig(benchmarks=["door"], max_turns=3)


class Door:
    """A world of one door: `look` leads on, any words end the episode; the score is 1 for saying `open`."""

    def __init__(self, task_id: str, fails: bool = False) -> None:
        self.task_id, self.cluster, self.category, self.tools = task_id, task_id, "door", TOOLS
        self.state = [user(f"Open {task_id}.")]
        self.done = False
        self.fails = fails

    def step(self, action: Message) -> None:
        self.state.append(action)
        self.state += [Message(role="tool", content="shut", tool_call_id=call.id) for call in action.tool_calls]
        self.done = not action.tool_calls

    def score(self) -> float:
        if self.fails:
            raise KeyError("hinge")
        return float(self.state[-1].content == "open")


class Scripted:
    """An engine that answers by task and turn, and keeps what it was asked."""

    def __init__(self, answer: Callable[[str, int], str | Group | Completion]) -> None:
        self.answer = answer
        self.asked: list[list[Request]] = []

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, done: Container[str] = ()
    ) -> Iterator[list[Group]]:
        self.asked.append(list(requests))
        for request in reversed(requests):
            task, turn = request.state[0].content[5:-1], sum(m.role == "assistant" for m in request.state)
            found = self.answer(task, turn)
            if isinstance(found, str):
                try:
                    found = Completion(text=found, action=parse_hermes(found), token_ids=[1, 2])
                except UnparsableError as error:
                    found = Completion(text=found, action=None, problem=str(error), token_ids=[1])
            if isinstance(found, Completion):
                found = Group(request=request, completions=[found])
            yield [Group(request=request, completions=found.completions, status=found.status, detail=found.detail)]

    def close(self) -> None:
        pass


def played(answer, *episodes: Door, trials: int = 1) -> tuple[list[EvalResult], Scripted]:
    engine = Scripted(answer)
    runs = [Run("door", trial, Door(e.task_id, e.fails)) for trial in range(trials) for e in episodes]
    return play(runs, lambda: engine, CONFIG, MemoryJournal()), engine


def test_an_episode_becomes_a_row_with_its_transcript():
    (row,), engine = played(lambda task, turn: RIGHT if turn == 0 else "open", Door("a"))
    call = calls("look", '{"order": 7}').tool_calls[0].model_copy(update={"id": "call_1_0"})
    assert row == EvalResult(
        benchmark="door",
        task_id="a",
        cluster="a",
        category="door",
        model="desk",
        trial=0,
        seed=sample_seed(0, "door/a/0", 0),
        score=1.0,
        status="ok",
        error=None,
        n_turns=2,
        n_tool_calls=1,
        n_tokens=4,
        seconds=None,
        transcript=[
            Message(role="assistant", tool_calls=[call]),
            Message(role="tool", content="shut", tool_call_id="call_1_0"),
            says("open"),
        ],
    )
    assert [[request.key for request in batch] for batch in engine.asked] == [["door/a/0/0"], ["door/a/0/1"]]


def test_all_episodes_advance_together_and_keep_their_order():
    rows, engine = played(lambda task, turn: RIGHT if turn < int(task) else "open", *map(Door, "201"), trials=2)
    assert [(row.task_id, row.trial, row.n_turns) for row in rows] == [
        ("2", 0, 3), ("0", 0, 1), ("1", 0, 2), ("2", 1, 3), ("0", 1, 1), ("1", 1, 2),
    ]  # fmt: skip
    assert [len(batch) for batch in engine.asked] == [6, 4, 2]
    keys = [request.key for batch in engine.asked for request in batch]
    assert len(set(keys)) == len(keys)


ENDINGS = [
    ("shut", 0.0, "ok", None, 1),
    ("", 0.0, "empty", "empty: ", 1),
    ("<tool_call>", 0.0, "unparsable", "a <tool_call> tag without its partner: <tool_call>", 1),
    (RIGHT, 0.0, "max_turns", None, 3),
    (Completion(text="...and", action=None, finish_reason="length"), 0.0, "truncated", "...and", 1),
    (Completion(text="", action=None, finish_reason="error", error="down"), None, "infra_error", "down", 1),
    (
        Group(request=Request(key="", state=[], tools="[]"), completions=[], status="too_long", detail="9 of 8"),
        None,
        "too_long",
        "too_long: 9 of 8",
        0,
    ),
    (
        Group(request=Request(key="", state=[], tools="[]"), completions=[], status="unrenderable", detail="no"),
        None,
        "infra_error",
        "unrenderable: no",
        0,
    ),
]


@pytest.mark.parametrize(("answer", "score", "status", "error", "n_turns"), ENDINGS)
def test_every_ending_has_its_status(answer, score, status, error, n_turns):
    (row,), _ = played(lambda task, turn: answer, Door("a"))
    assert (row.score, row.status, row.error, row.n_turns) == (score, status, error, n_turns)


def test_a_context_that_the_policy_filled_itself_scores_zero():
    full = ENDINGS[6][0]
    (row,), _ = played(lambda task, turn: RIGHT if turn == 0 else full, Door("a"))
    assert (row.score, row.status, row.error) == (0.0, "too_long", "too_long: 9 of 8")


def test_a_scorer_that_fails_has_measured_nothing():
    (row,), _ = played(lambda task, turn: "open", Door("a", fails=True))
    assert (row.score, row.status, row.error) == (None, "infra_error", "KeyError: 'hinge'")


def test_the_summary_counts_what_was_not_measured_beside_the_mean():
    down = Completion(text="", action=None, finish_reason="error", error="down")
    rows, _ = played(lambda task, turn: {"a": "open", "b": "shut", "c": down}[task], *map(Door, "abc"), trials=2)
    assert summarize(rows).model_dump()["benchmarks"] == {
        "door": {
            "n": 6,
            "n_unscored": 2,
            "first_unscored": "c: down",
            "mean": 0.5,
            "low": pytest.approx(rate_interval(0.5, 2)[0]),  # two tasks, whose trials agree
            "high": pytest.approx(rate_interval(0.5, 2)[1]),
            "mean_errors_as_zero": 2 / 6,
            "do_nothing": None,
            "status": {"infra_error": 2, "ok": 4},
            "turns_per_episode": 1.0,
            "by_category": {"door": {"n": 4, "mean": 0.5}},
            "pass_at_k": {"2": {"n": 2, "mean": 0.5}},
            "pass_hat_k": {"2": {"n": 2, "mean": 0.5}},
            "metrics": {},
            "trajectories": None,
        }
    }


def test_held_out_candidates_are_one_turn_episodes(tmp_path):
    rows = [
        candidate("a-0"),
        candidate("a-1", split="holdout"),
        candidate("b-0", split="holdout", expected_action=says("Hi.")),
    ]
    opened = open_benchmark(f"pivots:{write(tmp_path / 'c.parquet', rows)}")
    setting = Setting(argument=opened.argument)
    call, talk = opened.make(setting)
    assert (opened.name, call.task_id, call.cluster, call.category) == ("pivots", "a-1", "a", "look")
    assert (talk.category, talk.state) == ("(message)", rows[2].state)
    assert (call.score(), call.metrics(), talk.metrics()) == (0.0, {"tool_name": 0.0, "valid_calls": 0.0}, {})
    call.step(parse_hermes(RIGHT))
    talk.step(calls("look", '{"order": "x"}'))
    assert (call.score(), talk.score(), call.done) == (1.0, 0.0, True)
    assert (call.metrics(), talk.metrics()) == ({"tool_name": 1.0, "valid_calls": 1.0}, {"valid_calls": 0.0})
    assert [episode.task_id for episode in opened.make(replace(setting, limit=1))] == ["a-1"]
    assert [episode.task_id for episode in opened.make(replace(setting, split="all"))] == ["a-0", "a-1", "b-0"]


VALID = [
    ("look", '{"order": 7}', True),
    ("look", '{"order": "7"}', False),
    ("look", "{}", False),
    ("look", "[7]", False),
    ("look", "{", False),
    ("glance", '{"order": 7}', False),
]


@pytest.mark.parametrize(("name", "arguments", "valid"), VALID)
def test_a_valid_call_is_declared_and_fits_its_schema(name, arguments, valid):
    assert is_valid(ToolCall(name=name, arguments=arguments), TOOLS) is valid


def test_a_schema_that_is_none_refuses_nothing():
    broken = '[{"type": "function", "function": {"name": "look", "parameters": {"type": "thing"}}}]'
    assert is_valid(ToolCall(name="look", arguments='{"x": 1}'), broken)


def test_benchmarks_that_cannot_be_opened_say_so(tmp_path):
    with pytest.raises(ConfigError, match="unknown benchmark 'desks'"):
        open_benchmark("desks")
    with pytest.raises(ConfigError, match="benchmark pivots needs a table"):
        open_benchmark("pivots")
    with pytest.raises(ConfigError, match="benchmark desk has the splits test and val"):
        open_benchmark("desk").make(Setting(split="all"))
    opened = open_benchmark("desk:many")
    with pytest.raises(ConfigError, match="benchmark desk:many"):
        opened.make(Setting(argument=opened.argument))
    opened = open_benchmark(f"pivots:{write(tmp_path / 'c.parquet', [candidate('a-0')])}")
    with pytest.raises(InputError, match="no rows in the holdout split"):
        opened.make(Setting(argument=opened.argument))
    opened = open_benchmark(f"pivots:{tmp_path / 'none.parquet'}")
    with pytest.raises(InputError, match="no such file"):
        opened.make(Setting(argument=opened.argument))


def turn(key: str, score: float | None, trial: int = 0) -> EvalResult:
    return result("next-action", "m", key, score, cluster=key.partition("-")[0], trial=trial)


def test_turns_say_what_they_do_of_whole_trajectories():
    rows = [
        *(turn(f"a-{i}", 1.0) for i in range(3)),
        *(turn(f"b-{i}", score) for i, score in enumerate([1.0, 0.5, 1.0, 1.0])),
        *(turn(f"c-{i}", score) for i, score in enumerate([0.0, None])),
        *(turn(f"d-{i}", score) for i, score in enumerate([1.0, None, 0.0])),
        turn("a-10", 0.0, trial=1),
        turn("a-9", 1.0, trial=1),
    ]
    assert by_trajectory(rows) == {
        "n": 4,
        "n_unknown": 1,
        "success": 1 / 4,
        "prefix": (3 + 1 + 0 + 1) / 4,
        "prefix_share": pytest.approx((1 + 1 / 4 + 0 + 1 / 2) / 4),
    }
    assert by_trajectory([turn("d-0", None)]) == {
        "n": 0, "n_unknown": 1, "success": None, "prefix": None, "prefix_share": None,
    }  # fmt: skip


def test_next_action_takes_whole_trajectories_in_the_order_of_their_turns(tmp_path, capsys):
    order = [("b", 1), ("a", 0), ("b", 0), ("c", 1)]
    rows = [candidate(f"{t}-{i}", turn=i, n_turns=2, split="holdout") for t, i in order]
    opened = open_benchmark(f"next-action:{write(tmp_path / 'c.parquet', rows)}")
    episodes = opened.make(Setting(argument=opened.argument, limit=2))
    assert [(e.task_id, e.cluster) for e in episodes] == [("b-0", "b"), ("b-1", "b"), ("a-0", "a")]
    assert "1 of 2 trajectories lack turns" in capsys.readouterr().err


@pytest.fixture
def config(tmp_path, talker) -> EvalConfig:
    rows = [
        candidate(
            f"q{i}-0",
            state=[user(f"Question {i}?")],
            tools="[]",
            expected_action=says("yes"),
            verifier="exact",
            split="holdout",
        )
        for i in range(6)
    ]
    table = write(tmp_path / "held.parquet", rows)
    return EvalConfig(
        benchmarks=[f"pivots:{table}", "skills"],
        model=str(talker),
        output=str(tmp_path / "eval.parquet"),
        limit=5,
        trials=2,
        max_error_rate=0.1,  # one skill has tools whose schemas fill the context of the tiny model
        max_new_tokens=8,
        device="cpu",
    )


def test_a_model_is_evaluated_on_several_benchmarks(config, tmp_path):
    summary = stage.run(config)
    rows = read(tmp_path / "eval.parquet", EvalResult)
    assert [(row.benchmark, row.trial) for row in rows] == [
        (name, trial) for name in ("pivots", "skills") for trial in (0, 1) for _ in range(5)
    ]
    assert {row.transcript[0].content for row in rows if row.status == "ok"} <= {"yes", "never"}
    assert summary.benchmarks["pivots"].mean == sum(row.score for row in rows[:10]) / 10
    assert 0 < summary.benchmarks["pivots"].mean < 1
    assert summary.benchmarks["skills"].n == 10
    assert summary == summarize(rows)
    before = (tmp_path / "eval.parquet").read_bytes()
    assert stage.run(config) == summary.model_copy(update={"cached": True})
    stage.run(config.model_copy(update={"force": True}))
    assert (tmp_path / "eval.parquet").read_bytes() == before


def test_other_benchmarks_are_another_run(config):
    stage.run(config)
    with pytest.raises(OutputError, match="fingerprint of benchmarks"):
        stage.run(config.model_copy(update={"benchmarks": [config.benchmarks[0]]}))
    with pytest.raises(ConfigError, match="benchmark pivots is named twice"):
        stage.run(config.model_copy(update={"benchmarks": [config.benchmarks[0]] * 2}))


def test_too_many_failures_fail_the_run_also_the_second_time(config, tmp_path):
    rows = [candidate(f"q{i}-0", state=[user("x" * (600 if i else 2))], split="holdout") for i in range(4)]
    config = config.model_copy(update={"benchmarks": [f"pivots:{write(tmp_path / 'long.parquet', rows)}"], "trials": 1})
    for _ in range(2):
        with pytest.raises(RunError) as error:
            stage.run(config)
        assert error.value.message.startswith("3 of 4 rows could not be measured, the first: pivots q1-0: too_long: ")
    accepted = stage.run(config.model_copy(update={"max_error_rate": 0.8}))
    assert accepted.cached
    assert accepted.benchmarks["pivots"].n_unscored == 3
    assert [row.status for row in read(tmp_path / "eval.parquet", EvalResult)][1:] == ["too_long"] * 3
