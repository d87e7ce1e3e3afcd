"""Equivalence by doing: in the desk, and in tau's airline and retail where the extra is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
from recorded import DATA, needs_recorded
from tables import calls, read, says, script, write

from pivotrl_cli.configs import ExtractConfig, ProfileConfig
from pivotrl_cli.environments.desk import demonstrate, tasks, to_record
from pivotrl_cli.environments.desk.tasks import task_by_id
from pivotrl_cli.errors import MissingExtra
from pivotrl_cli.rows import Candidate, Message, Profile, Reject
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.verifiers import UnverifiableError, load_verifier
from pivotrl_cli.verifiers.execute import Execute, world_before

verify = Execute()


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Candidate]:
    """Every turn of twelve desk demonstrations."""
    folder = tmp_path_factory.mktemp("desk")
    records = [to_record(task, demonstrate(task, 5)) for task in tasks("train", 12, 3)]
    (folder / "t.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    output = str(folder / "c.parquet")
    extract.run(ExtractConfig(sources=[str(folder / "t.jsonl")], output=output, verifier="execute"))
    return read(folder / "c.parquet", Candidate)


def calling(rows: list[Candidate], tool: str) -> Candidate:
    return next(row for row in rows if [c.name for c in row.expected_action.tool_calls] == [tool])


def arguments(row: Candidate) -> dict:
    return json.loads(row.expected_action.tool_calls[0].arguments)


def changed(row: Candidate, **values) -> Message:
    return calls(row.expected_action.tool_calls[0].name, json.dumps(arguments(row) | values))


def test_every_demonstration_is_accepted(rows):
    turns = sum(m.role == "assistant" for t in tasks("train", 12, 3) for m in demonstrate(t, 5))
    assert len(rows) == turns
    assert {row.verifier for row in rows} == {"execute"}
    assert all(load_verifier("execute")(row, row.expected_action).reward == 1.0 for row in rows)


def test_another_way_to_the_same_reply_is_as_good(rows):
    row = calling(rows, "find_user")
    user = task_by_id(row.task_id).user
    for given in ({"name": user.name}, {"phone": user.phone}, {"name": user.name, "phone": user.phone}):
        assert verify(row, calls("find_user", json.dumps(given))).reward == 1.0
    wrong = verify(row, calls("find_user", '{"name": "Nobody Else"}'))
    assert (wrong.reward, wrong.category) == (0.0, "execution_failed")


def test_reads_are_told_apart_by_what_they_return(rows):
    row = next(r for r in rows if len(task_by_id(r.task_id).orders) > 1 and "get_order" in str(r.expected_action))
    other = next(o for o in task_by_id(row.task_id).orders if o.order_id != arguments(row)["order_id"])
    assert verify(row, changed(row, order_id=other.order_id)).category == "output_different"
    assert verify(row, changed(row, order_id="Z000")).category == "execution_failed"


def test_writes_are_told_apart_by_the_state(rows):
    row = calling(rows, "refund")
    assert verify(row, changed(row, amount=arguments(row)["amount"] + 1)).category == "state_different"
    assert verify(row, calls("get_order", json.dumps({"order_id": arguments(row)["order_id"]}))).reward == 0.0
    assert verify(row, row.expected_action).reward == 1.0  # nothing of what was tried is left


def test_every_tool_works_on_its_own_copy(rows):
    """A copy that shared its tools with the original would find the work already done."""
    for tool in ("cancel_order", "return_order", "set_address", "add_credit", "log_case"):
        row = calling(rows, tool)
        twice = row.expected_action.model_copy(update={"tool_calls": row.expected_action.tool_calls * 2})
        assert [verify(row, row.expected_action).reward for _ in range(3)] == [1.0] * 3
        assert verify(row, twice).reward == 0.0
        before = world_before(row)
        stood = json.dumps(before.state())
        before.fork().step(row.expected_action)
        assert json.dumps(before.state()) == stood


def test_a_note_may_be_worded_otherwise_but_not_left_out(rows):
    row = next(r for r in rows if "denied" in str(r.expected_action.tool_calls))
    assert verify(row, changed(row, note="not what was demonstrated")).reward == 1.0
    assert verify(row, changed(row, note="")).category == "state_different"


def test_whether_the_user_agreed_is_replayed(rows):
    """After a yes the expensive order may be acted on; the unasked mark would tell the states apart."""
    asked = [r for r in rows if r.turn and "?" in r.state[-2].content and r.expected_action.tool_calls]
    acted = [r for r in asked if r.expected_action.tool_calls[0].name != "log_case"]
    assert acted
    for row in acted:
        world = world_before(row)
        world.step(row.expected_action)
        assert world.state()["unasked"] == []


@pytest.mark.parametrize(
    "text", ["not json", "[]", "{}", '{"order_id": {}}', "[" * 5000, '{"a": "' + "x" * 100_000 + '"}']
)
def test_any_text_gets_a_verdict(rows, text):
    row = calling(rows, "get_order")
    for tool in ("get_order", "refund", "__init__", "no such tool"):
        assert verify(row, calls(tool, text)).reward == 0.0


def test_messages_are_compared_by_what_they_say(rows):
    last = next(row for row in rows if row.turn + 1 == row.n_turns)
    assert verify(last, last.expected_action).reward == 1.0
    assert verify(last, says("All fine.")).reward == 0.0
    assert verify(last, calls("get_order", "{}")).category == "no_expected_chat_message"
    row = calling(rows, "get_order")
    assert verify(row, says("One moment.")).category == "no_expected_tool_call"
    assert verify(row, says("")).category == "no_action_found"


def test_a_replay_that_takes_another_course_measures_nothing(rows):
    row = next(r for r in rows if r.state[-1].role == "tool")
    other = row.state[-1].model_copy(update={"content": '{"ok": "changed"}'})
    with pytest.raises(UnverifiableError, match=r"replaying .* gives"):
        Execute()(row.model_copy(update={"state": [*row.state[:-1], other]}), row.expected_action)
    with pytest.raises(UnverifiableError, match="no recorded reply"):
        Execute()(row.model_copy(update={"state": row.state[:-1]}), row.expected_action)


@pytest.mark.parametrize(
    ("update", "error"),
    [
        ({"domain": "bank"}, "no world to execute in for domain 'bank'; known: desk, airline, retail"),
        ({"task_id": "desk-nowhere-0-1"}, "the desk has no task"),
        ({"task_id": "train-0-1"}, "the desk has no task"),
        ({"task_id": "desk-train-99-1"}, "has another request"),
        ({"expected_action": calls("get_order", '{"order_id": "Z000"}')}, "fails in the world"),
        ({"expected_action": calls("get_order", "[]")}, "must be an object"),
    ],
)
def test_what_cannot_be_executed_is_an_error(rows, update, error):
    row = calling(rows, "get_order")
    with pytest.raises(UnverifiableError, match=error):
        Execute()(row.model_copy(update=update), row.expected_action)


def test_errors_are_rejects_of_extract_and_unmeasured_in_profile(rows, tmp_path):
    row = calling(rows, "get_order")
    lost = row.model_copy(update={"domain": "bank", "candidate_id": "b-000", "trajectory_id": "b"})
    write(tmp_path / "c.parquet", [row, lost])
    text = json.dumps({"name": "get_order", "arguments": arguments(row)})
    right = f"<tool_call>\n{text}\n</tool_call>"
    summary = profile.run(
        ProfileConfig(
            candidates=str(tmp_path / "c.parquet"),
            engine="replay",
            replay=script(tmp_path / "s.jsonl", {row.candidate_id: [right], "b-000": [right]}),
            n=1,
            output=str(tmp_path / "p.parquet"),
        )
    )
    assert (summary.scored, summary.errors) == (1, 1)
    good, bad = (r.rollouts[0] for r in read(tmp_path / "p.parquet", Profile))
    assert (good.reward, bad.reward) == (1.0, None)
    assert bad.error.startswith("UnverifiableError: no world to execute in")


def test_extract_rejects_what_does_not_replay(tmp_path):
    task = tasks("train", 1, 3)[0]
    record = to_record(task, demonstrate(replace(task, orders=task.orders[::-1]), 5)) | {"domain": "elsewhere"}
    (tmp_path / "t.jsonl").write_text(json.dumps(record) + "\n")
    config = ExtractConfig(sources=[str(tmp_path / "t.jsonl")], output=str(tmp_path / "c.parquet"), verifier="execute")
    extract.run(config)
    kept, refused = read(tmp_path / "c.parquet", Candidate), read(tmp_path / "c.rejects.parquet", Reject)
    assert all(not row.expected_action.tool_calls for row in kept)  # messages need no world
    assert {row.reason.value for row in refused} == {"rejected_by_verifier"}
    assert "no world to execute in" in refused[0].detail


# tau


@pytest.mark.skipif(find_spec("inspect_evals") is not None, reason="the tau extra is installed")
def test_tau_names_its_extra(rows):
    row = calling(rows, "get_order").model_copy(update={"domain": "airline"})
    with pytest.raises(MissingExtra, match="needs the tau extra"):
        Execute()(row, row.expected_action)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(find_spec("inspect_evals") is None, reason="the tau extra is not installed")
@needs_recorded
@pytest.mark.parametrize(
    ("domain", "read_tool", "no_read"),
    [("airline", "get_reservation_details", "_get_user"), ("retail", "get_order_details", "initialize")],
)
def test_recorded_tau_runs_replay_with_the_same_replies(tmp_path, domain, read_tool, no_read):
    output = str(tmp_path / "c.parquet")
    source = str(DATA / "tau2_bench/results" / f"gpt-4.1_{domain}.json")
    summary = extract.run(ExtractConfig(sources=[source], output=output, verifier="execute", limit=3))
    assert summary.n_rejects == 0
    found = read(tmp_path / "c.parquet", Candidate)
    reads = [r for r in found if [c.name for c in r.expected_action.tool_calls] == [read_tool]]
    for row in reads:
        assert verify(row, row.expected_action).reward == 1.0
        assert verify(row, changed(row, **dict.fromkeys(arguments(row), "NOTHING"))).category == "execution_failed"
        assert verify(row, calls(no_read, "{}")).category == "execution_failed"
    assert reads
