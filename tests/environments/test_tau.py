"""tau2-bench in process, offline: recorded runs replayed, and a scripted agent and user."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from faulty_server import faulty_server
from recorded import DATA, needs_recorded
from tables import read

from pivotrl_cli.benchmarks import DO_NOTHING, Setting, open_benchmark
from pivotrl_cli.configs import EvalConfig
from pivotrl_cli.environments import WorldError
from pivotrl_cli.errors import ConfigError, MissingExtra, RunError
from pivotrl_cli.rows import EvalResult, Message, ToolCall
from pivotrl_cli.stages.eval import run as stage

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the extra brings
RESULTS = DATA / "tau2_bench" / "results"
installed = pytest.mark.skipif(find_spec("inspect_evals") is None, reason="the tau extra is not installed")


def said(message: dict) -> Message:
    """A recorded message as an action."""
    made = message["tool_calls"] or []
    calls = [ToolCall(id=c["id"], name=c["name"], arguments=json.dumps(c["arguments"])) for c in made]
    return Message(role="assistant", content=message["content"] or "", tool_calls=calls)


def plain(text: str | None) -> object:
    """What a reply says, however its JSON is spaced."""
    try:
        return json.loads(text or "")
    except ValueError:
        return text or ""


class Scripted:
    """A user who says what is written down."""

    concurrency = 1

    def __init__(self, lines: list[Message]) -> None:
        self.lines, self.keys = list(lines), []

    def __call__(self, key: str, state: list[Message], tools: str) -> Message:
        self.keys.append(key)
        if not self.lines:
            raise WorldError("nothing more to say")
        return self.lines.pop(0)


def replay(name: str, task: dict, messages: list[dict]):
    """The recorded run played again: the same actions, the same user."""
    from pivotrl_cli.benchmarks.tau2 import start

    user = Scripted([said(m) for m in messages if m["role"] == "user"])
    episode = start(name, task, user)
    episode.begin()
    for message in messages[1:]:
        if message["role"] == "assistant" and not episode.done:
            episode.step(said(message))
    return episode, user


RUNS = [
    ("gpt-4.1_airline", "airline", 4),
    ("gpt-4.1_retail", "retail", 10),
    ("gpt-4.1_telecom", "telecom", 40),
    ("ft-gpt-4.1_telecom", "telecom", 40),
]
ALL_RUNS = [
    ("gpt-4.1_airline", "airline", 20),
    ("ft-gpt-4.1_airline", "airline", 20),
    ("gpt-4.1_retail", "retail", 40),
    ("ft-gpt-4.1_retail", "retail", 40),
]


def rewards(file: str, name: str, n: int) -> tuple[list[float], list[float]]:
    """Ours and the recorded ones."""
    results = json.loads((RESULTS / f"{file}.json").read_text())
    tasks = {task["id"]: task for task in results["tasks"]}
    runs = results["simulations"][:n]
    ours = [replay(name, tasks[run["task_id"]], run["messages"])[0].score() for run in runs]
    return ours, [run["reward_info"]["reward"] for run in runs]


@installed
@needs_recorded
@pytest.mark.parametrize(("file", "name", "n"), RUNS)
def test_replayed_runs_have_their_recorded_rewards(file, name, n):
    ours, theirs = rewards(file, name, n)
    assert ours == theirs
    assert len(theirs) == n


@pytest.mark.slow
@installed
@needs_recorded
@pytest.mark.parametrize(("file", "name", "n"), ALL_RUNS)
def test_all_replayed_runs_have_their_recorded_rewards(file, name, n):
    ours, theirs = rewards(file, name, n)
    assert ours == theirs
    assert len(theirs) == n


@installed
@needs_recorded
def test_a_replay_gives_the_recorded_replies_and_the_user_hears_what_is_said():
    results = json.loads((RESULTS / "gpt-4.1_retail.json").read_text())
    tasks = {task["id"]: task for task in results["tasks"]}
    run = results["simulations"][0]
    episode, user = replay("retail", tasks[run["task_id"]], run["messages"])
    told = [(m["role"], plain(m["content"])) for m in run["messages"]]
    assert [(m.role, plain(m.content)) for m in episode.state[1:]] == told
    assert user.keys == [f"tau2_retail/{run['task_id']}/0/{i}" for i in range(len(user.keys))]
    assert user.lines == []
    heard = [m.content for m in episode._user_view[1:]]
    assert heard == [m["content"] for m in run["messages"] if m["role"] != "tool" and not m["tool_calls"]]


@installed
@pytest.mark.parametrize(
    ("name", "n", "right"),
    [
        ("telecom", 114, 0),
        pytest.param("retail", 114, 7, marks=pytest.mark.slow),
        pytest.param("airline", 50, 19, marks=pytest.mark.slow),
    ],
)
def test_doing_nothing_scores_what_is_said(name, n, right):
    ending = Message(role="assistant", content="###STOP###")

    class Leaves(Scripted):
        def __call__(self, key: str, state: list[Message], tools: str) -> Message:
            return ending if len(state) > 2 else Message(role="assistant", content="Hello.")

    episodes = open_benchmark(f"tau2_{name}").make(Setting(user=Leaves([])))
    for episode in episodes:
        episode.begin()
        episode.step(Message(role="assistant", content="I cannot help with that."))
    assert (len(episodes), sum(episode.score() for episode in episodes)) == (n, right)
    assert DO_NOTHING[f"tau2_{name}"] == right / n


@installed
def test_the_splits_are_the_packages():
    user = Scripted([])
    base, test, train = (
        {e.task_id for e in open_benchmark(spec).make(Setting(user=user, argument=spec.partition(":")[2]))}
        for spec in ("tau2_airline", "tau2_airline:test", "tau2_airline:train")
    )
    assert (len(base), len(test), len(train)) == (50, 20, 30)
    assert test | train == base
    assert open_benchmark("tau2_airline:test").name == "tau2_airline:test"
    with pytest.raises(ConfigError, match="tau2_airline has no split 'tset'"):
        open_benchmark("tau2_airline:tset").make(Setting(user=user, argument="tset"))


def test_a_user_is_needed(tmp_path):
    config = EvalConfig(benchmarks=["tau2_airline"], engine="replay", output=str(tmp_path / "e.parquet"))
    with pytest.raises(ConfigError, match="benchmark tau2_airline needs a simulated user"):
        stage.run(config)
    with pytest.raises(ConfigError, match="--user-url needs a model"):
        stage.run(config.model_copy(update={"user_url": "http://127.0.0.1:1/v1"}))


@pytest.mark.skipif(find_spec("inspect_evals") is not None, reason="the tau extra is installed")
def test_the_benchmarks_name_their_extra():
    with pytest.raises(MissingExtra, match="needs the tau extra"):
        open_benchmark("tau2_retail").make(Setting(user=Scripted([])))


def answered(content: str, *calls: tuple[str, dict]) -> dict:
    """A chat completion."""
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for i, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content, "tool_calls": made}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def customer(path: str, body: dict) -> dict:
    """A user who wants one thing, and leaves when the agent has answered."""
    if not body:
        return {"data": [{"id": "user"}]}
    words = [m["content"] for m in body["messages"] if m["role"] == "user"]
    return answered("Thanks. ###STOP###" if len(words) > 1 else "How many T-shirts are there?")


def agent(path: str, body: dict) -> dict:
    """An agent that looks something up, and then answers."""
    if not body:
        return {"data": [{"id": "agent"}]}
    tools = [tool["function"]["name"] for tool in body.get("tools", [])]
    if tools == ["report_ready"]:
        return answered("", ("report_ready", {"ready": True}))
    if body["messages"][-1]["role"] == "user":
        return answered("", ("list_all_product_types", {}))
    return answered("There are 12.")


@installed
def test_agent_and_user_talk_over_their_servers_and_what_failed_is_tried_again(tmp_path):
    def config(agent_url: str, user_url: str) -> EvalConfig:
        return EvalConfig(
            benchmarks=["tau2_retail"],
            limit=3,
            trials=2,
            model="agent",
            engine="endpoint",
            endpoint=agent_url,
            endpoint_retries=0,
            user_url=user_url,
            user_model="user",
            output=str(tmp_path / "e.parquet"),
        )

    with faulty_server(agent, lambda i: None) as (agent_url, asked):
        with (
            faulty_server(customer, lambda i: "500" if i == 4 else None) as (user_url, _),
            pytest.raises(RunError, match=r"1 of 6 rows could not be measured.*the simulated user: HTTP 500"),
        ):
            stage.run(config(agent_url, user_url))
        first = len(asked)
        with faulty_server(customer, lambda i: None) as (user_url, heard):
            summary = stage.run(config(agent_url, user_url)).benchmarks["tau2_retail"]
    assert len(asked) - first <= 5  # the list of models, two requests of the canary, two turns
    assert len([one for one in heard if one["body"]]) <= 3
    assert (summary.n, summary.status, summary.turns_per_episode) == (6, {"ok": 6}, 2.0)
    assert summary.pass_hat_k["2"].n == 3
    rows = read(tmp_path / "e.parquet", EvalResult)
    assert [m.role for m in rows[0].transcript] == ["user", "assistant", "tool", "assistant", "user"]
    assert '"T-Shirt"' in rows[0].transcript[2].content
    sampled = [one["body"] for one in asked if one["body"].get("tools") and len(one["body"]["messages"]) > 1]
    assert sampled[0]["messages"][1]["content"].startswith("Hi!")
    assert len({body["seed"] for body in sampled}) > 6
