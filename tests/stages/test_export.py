"""Exports: every target holds what the table says, and what was read back is what was written."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import jsonschema
import pyarrow.parquet as pq
import pytest
from readings import read_file
from recorded import DATA, needs_recorded
from records import FOLDER
from tables import RIGHT, TALK, TOOLS, WRONG, calls, candidate, says, user, write
from tiny_models import tiny_tokenizer

from pivotrl_cli.configs import DeskConfig, ExportConfig, ExtractConfig, FilterConfig
from pivotrl_cli.errors import ConfigError, InputError, OutputError, RunError
from pivotrl_cli.exporters.scoring import ground_truth
from pivotrl_cli.exporters.targets.verl import _reward_file
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.rows import Candidate, Message, Pivot, ToolCall, Trajectory
from pivotrl_cli.stages import desk, export
from pivotrl_cli.stages.export import Counted
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.filter import run as filter_stage
from pivotrl_cli.storage.table import Table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def desk_candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    desk.run(DeskConfig(n=6, output=str(folder / "t.jsonl")))
    extract.run(ExtractConfig(sources=[str(folder / "t.jsonl")], output=str(folder / "c.parquet")))
    return folder / "c.parquet"


@pytest.fixture
def pivots(tmp_path: Path, profile_file: Path) -> Path:
    """Two pivots with pass rates."""
    filter_stage.run(FilterConfig(profile=str(profile_file), output=str(tmp_path / "pivots.parquet")))
    return tmp_path / "pivots.parquet"


def exported(table: Path, to: str, folder: Path, **options: Any) -> dict[str, Any]:
    return export.run(ExportConfig(pivots=str(table), to=to, output=str(folder), **options))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def gym_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of all servers."""
    return [row for path in sorted(folder.glob("*.jsonl")) for row in lines(path)]


def rows(path: Path, kind: type[Candidate] = Candidate) -> list[Candidate]:
    with Table.open(path, kind) as table:
        return list(table.rows())


def reward_file(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("reward", folder / "reward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_back(path: Path) -> tuple[str, list[Trajectory]]:
    """Format and rows of a file, or of all files of rows in a folder."""
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    read = [read_file(file) for file in files]
    found = [row for _, several in read for row in several]
    assert all(isinstance(row, Trajectory) for row in found), found
    return read[0][0], found


def unnamed(messages: list[Message]) -> list[Message]:
    """Without the names of tools on replies, which the calls have."""
    return [message.model_copy(update={"name": None}) for message in messages]


def without_strict(tools: str) -> list[dict[str, Any]]:
    """Tools without what Gym wants on each: `strict`, and `parameters` where they are empty."""
    empty = {"type": "object", "properties": {}}
    functions = [tool["function"] for tool in json.loads(tools)]
    return [
        {key: value for key, value in function.items() if key != "strict" and (key, value) != ("parameters", empty)}
        for function in functions
    ]


def check_row(row: dict[str, Any]) -> None:
    """NeMo Gym's contract of pivot rows, batches included."""
    params = row["responses_create_params"]
    assert isinstance(params["input"], list)
    assert params["input"]
    assert isinstance(params["tools"], list)
    assert isinstance(params["parallel_tool_calls"], bool)
    assert params["tool_choice"] == "auto"
    assert params.get("metadata", {}) is not None
    for tool in params["tools"]:
        assert {"type", "name", "parameters", "strict"} <= tool.keys()
    assert row["agent_ref"]["type"] == "responses_api_agents"
    if "expected_answer" in row:
        return
    expected = row["expected_action"]
    if expected["type"] == "message":
        assert isinstance(expected["content"], str)
        return
    made = expected["calls"] if expected["type"] == "function_call_batch" else [expected]
    assert made
    names = {tool["name"] for tool in params["tools"]}
    for call in made:
        assert call["type"] == "function_call"
        assert not names or call["name"] in names
        assert isinstance(json.loads(call["arguments"]), dict)


def assert_same(given: list[Candidate], found: list[Trajectory]) -> None:
    """States, tools and expected actions, but for what Gym has no place for."""
    for before, after in zip(given, found, strict=True):
        *state, action = after.messages
        assert unnamed(state) == unnamed(before.state)
        assert without_strict(after.tools) == without_strict(before.tools)
        expected = before.expected_action
        held = expected.model_copy(update={"reasoning": None})
        assert action == (held.model_copy(update={"content": ""}) if expected.tool_calls else held)


def test_gym_rows_hold_the_contract_and_are_read_back(desk_candidates, tmp_path):
    summary = exported(desk_candidates, "nemo-gym", tmp_path / "gym")
    given = rows(desk_candidates)
    written = gym_rows(tmp_path / "gym")
    for row in written:
        check_row(row)
    name, found = read_back(tmp_path / "gym")
    assert name == "nemo_gym"
    assert_same(given, found)
    spoken = [one for one in given if one.expected_action.tool_calls and one.expected_action.content]
    assert summary.to_metadata() == {
        "to": "nemo-gym",
        "n_given": len(given),
        "n_rows": len(given),
        "left_out": [],
        "not_held": [{"what": "text beside the demonstrated call", "n": len(spoken), "first": spoken[0].candidate_id}],
    }


@needs_recorded
def test_real_gym_rows_survive_a_second_export(tmp_path):
    source = str(DATA / "nemo_gym" / "*" / "*example.jsonl")
    extract.run(ExtractConfig(sources=[source], output=str(tmp_path / "c.parquet")))
    summary = exported(tmp_path / "c.parquet", "nemo-gym", tmp_path / "gym")
    given = rows(tmp_path / "c.parquet")
    assert (summary.n_rows, summary.left_out) == (len(given), [])
    for row in gym_rows(tmp_path / "gym"):
        check_row(row)
    assert_same(given, read_back(tmp_path / "gym")[1])
    assert any(len(one.expected_action.tool_calls) > 1 for one in given)


OF_OTHERS = [str(DATA / name) for name in ("tau2_bench", "nemo_gym_rollouts", "hermes", "inspect_logs")]


@pytest.mark.parametrize(
    ("sources", "n"), [([str(FOLDER)], 40), pytest.param(OF_OTHERS, 100, marks=needs_recorded)], ids=["ours", "others"]
)
def test_every_turn_of_trajectories_survives_gyms_form(tmp_path, sources, n):
    extract.run(ExtractConfig(sources=sources, output=str(tmp_path / "c.parquet"), limit=60))
    exported(tmp_path / "c.parquet", "nemo-gym", tmp_path / "gym")
    left_in = {row["uuid"] for row in gym_rows(tmp_path / "gym")}
    given = [one for one in rows(tmp_path / "c.parquet") if one.candidate_id in left_in]
    found = read_back(tmp_path / "gym")[1]
    assert len(given) == len(found) > n
    for before, after in zip(given, found, strict=True):
        kept = [(m.role, m.content, m.reasoning, [(c.name, c.arguments) for c in m.tool_calls]) for m in before.state]
        state = after.messages[:-1]
        assert [(m.role, m.content, m.reasoning, [(c.name, c.arguments) for c in m.tool_calls]) for m in state] == kept


LOOKS = Message(
    role="assistant",
    content="",
    tool_calls=[ToolCall(name="look", arguments='{"order": 7}'), ToolCall(name="look", arguments='{"order": 8}')],
)
REPLY = Message(role="tool", content="sent", name="look")


def test_batches_missing_ids_and_neighbouring_messages_in_gyms_form(tmp_path):
    state = [user("Look."), says("Well.", "why"), LOOKS, REPLY, REPLY]
    table = write(tmp_path / "c.parquet", [candidate("a-0", state=state, expected_action=LOOKS)])
    summary = exported(table, "nemo-gym", tmp_path / "gym")
    (row,) = gym_rows(tmp_path / "gym")
    check_row(row)
    look = {"type": "function_call", "name": "look"}
    assert row["expected_action"] == {
        "type": "function_call_batch",
        "calls": [look | {"arguments": '{"order": 7}'}, look | {"arguments": '{"order": 8}'}],
    }
    text = {"type": "output_text", "annotations": []}
    said = {"type": "message", "role": "assistant", "status": "completed"}
    assert row["responses_create_params"]["parallel_tool_calls"] is True
    assert row["responses_create_params"]["input"] == [
        {"type": "message", "role": "user", "content": "Look."},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "why"}],
            "encrypted_content": None,
        },
        said | {"id": "msg_1", "content": [text | {"text": "Well."}]},
        said | {"id": "msg_2", "content": [text | {"text": ""}]},
        look | {"call_id": "call_2_0", "arguments": '{"order": 7}'},
        look | {"call_id": "call_2_1", "arguments": '{"order": 8}'},
        {"type": "function_call_output", "call_id": "call_2_0", "output": "sent"},
        {"type": "function_call_output", "call_id": "call_2_1", "output": "sent"},
    ]
    assert [(one.what, one.n) for one in summary.not_held] == [("call ids (made up)", 1)]
    (found,) = read_back(tmp_path / "gym")[1]
    assert [(m.role, m.content, m.reasoning, len(m.tool_calls)) for m in found.messages[:-1]] == [
        (m.role, m.content, m.reasoning, len(m.tool_calls)) for m in state
    ]


def test_pass_rates_of_pivots_go_along(pivots, tmp_path):
    exported(pivots, "nemo-gym", tmp_path / "gym")
    names = ("uuid", "rewards", "pass_rate", "pass_rate_total", "pass_rate_passed")
    assert [tuple(row[name] for name in names) for row in gym_rows(tmp_path / "gym")] == [
        ("b-1", [1.0, 1.0, 0.0, 0.0], 0.5, 4, 2),
        ("c-0", [0.0, 1.0, 0.0, 0.0], 0.25, 4, 1),
    ]


@pytest.mark.parametrize(
    ("verifier", "action", "agent"),
    [
        ("tool_call", None, "single_step_tool_use_with_argument_comparison_agent"),
        ("search", None, "search_pivot_single_step_tool_use_with_argument_comparison_agent"),
        ("swe_compat", None, "swe_pivot_agent"),
        ("terminal", None, "terminal_multi_harness_agent"),
        ("terminal", says('{"analysis": "a", "plan": "p", "commands": []}'), "terminus_judge_agent"),
    ],
)
def test_the_server_follows_the_verifier_and_stands_in_the_config(tmp_path, verifier, action, agent):
    yaml = pytest.importorskip("yaml")
    changes = {"expected_action": action} if action else {}
    table = write(tmp_path / "c.parquet", [candidate("a-0", verifier=verifier, **changes)])
    exported(table, "nemo-gym", tmp_path / "gym")
    (row,) = gym_rows(tmp_path / "gym")
    check_row(row)
    assert row["agent_ref"]["name"] == agent
    config = yaml.safe_load((tmp_path / "gym" / "config.yaml").read_text())
    server = agent.removesuffix("_agent") + "_resources_server"
    relay = agent.removesuffix("_agent") + "_environment_server"
    assert list(config) == [server, agent, relay]
    declared = config[agent]["responses_api_agents"]["tool_simulation_agent"]
    assert declared["resources_server"] == {"type": "resources_servers", "name": server}
    assert [path.name for path in (tmp_path / "gym").glob("*.jsonl")] == [declared["datasets"][0]["jsonl_fpath"]]
    named = {"type": "responses_api_agents", "name": agent}
    assert config[relay] == {"environment_servers": {"legacy_agent": {"entrypoint": "app.py", "agent_server": named}}}
    assert row["task_source"] == agent


OURS = {"trajectory_id", "task_name", "environment_name", "info", "rewards", "reward_mean", "reward_std"}
"""Keys of rows that the schemas of Gym's servers do not name; `gym dataset collate` lists them as a notice."""


@pytest.fixture
def rows_of_servers(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """A row of every kind for each server."""
    terminus = says('{"analysis": "a", "plan": "p", "commands": []}')
    given = [
        candidate("a-0"),
        candidate("b-0", expected_action=says("Done.")),
        candidate("c-0", expected_action=LOOKS),
        candidate("d-0", verifier="swe_compat@0.6"),
        candidate("e-0", verifier="terminal", provenance='{"harness": "codex", "threshold": 0.8}'),
        candidate("f-0", verifier="terminal_compat", expected_action=LOOKS),
        candidate("g-0", verifier="terminus_compat", expected_action=terminus, provenance='{"threshold": 0.8}'),
    ]
    exported(write(tmp_path / "c.parquet", given), "nemo-gym", tmp_path / "gym")
    return {path.stem: lines(path) for path in (tmp_path / "gym").glob("*.jsonl")}


FRAMEWORKS = {"responses_create_params", "agent_ref", "task_source"}


def test_rows_fit_the_schemas_that_gym_0_7_has_for_each_server(rows_of_servers):
    """The snapshot is `TaskData` of each server as JSON Schema, without its texts."""
    schemas = json.loads((ROOT / "tests/data/gym/task_data.json").read_text())
    assert rows_of_servers.keys() == schemas.keys()
    for server, found in rows_of_servers.items():
        for row in found:
            data = {key: value for key, value in row.items() if key not in FRAMEWORKS}
            jsonschema.validate(data, schemas[server])
            assert data.keys() - schemas[server]["properties"].keys() <= OURS | {"uuid", "threshold"}
    assert rows_of_servers["terminal_multi_harness"][0]["threshold"] == 0.8
    assert [row["expected_action"]["type"] for row in rows_of_servers["terminal_multi_harness"]] == [
        *("function_call", "function_call_batch")
    ]


def test_rows_pass_the_validation_of_an_installed_gym(rows_of_servers):
    reason = "nemo-gym 0.7 wants Python 3.13.14; its wheel, unpacked on PYTHONPATH, is enough"
    gym = pytest.importorskip("nemo_gym.task_data", reason=reason)
    for server, found in rows_of_servers.items():
        schema = gym.load_task_data_schema(gym.find_server_dir(server))
        report = gym.validate_jsonl_rows(server, schema, f"{server}.jsonl", map(json.dumps, found))
        assert (report.rows, report.error_rows, report.conflicting_keys) == (len(found), 0, {})


def test_measured_rates_go_back_into_the_rows_of_gym(pivots, tmp_path):
    exported(pivots, "nemo-gym", tmp_path / "gym")
    source, profile = tmp_path / "train.jsonl", tmp_path / "profile.parquet"
    given = gym_rows(tmp_path / "gym")
    source.write_text("".join(json.dumps(row) + "\n" for row in given))
    extract.run(ExtractConfig(sources=[str(source)], output=str(tmp_path / "c.parquet"), profile=profile))
    measured = [one.candidate_id for one in rows(profile)]
    stale = given[0] | {"pass_rate": 0.75, "pass_rate_total": 8, "chosen_by": "someone", "reward": None}
    other = given[1] | {"expected_action": {"type": "message", "content": "Another."}}
    source.write_text("".join(json.dumps(row) + "\n" for row in (other, stale)))
    summary = exported(profile, "nemo-gym", tmp_path / "back", rows=str(source))
    (row,) = lines(tmp_path / "back" / "train.jsonl")
    rates = ("pass_rate", "pass_rate_total", "pass_rate_passed", "rewards", "reward_mean", "reward_std")
    kept = {key: value for key, value in stale.items() if key not in rates}
    assert row == kept | {"pass_rate": 0.5, "pass_rate_total": 4}
    assert (summary.n_given, summary.n_rows) == (2, 1)
    assert summary.left_out == [
        Counted(what="a row that the table does not have", n=1, first="train.jsonl record 1"),
        Counted(what="no row of --rows has this state and action", n=1, first=measured[1]),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"responses_create_params": {"input": "a"}, "response": {"output": []}}',
            "train.jsonl record 1: response: a",
        ),
        ('{"responses_create_params": {"input": "a"}, "expected_action": 3}', "train.jsonl record 1: expected_action"),
        ("{", "train.jsonl record 1: "),
    ],
)
def test_files_without_gyms_rows_are_refused_with_their_place(content, message, pivots, tmp_path):
    (tmp_path / "train.jsonl").write_text(content + "\n")
    with pytest.raises(InputError, match=message):
        exported(pivots, "nemo-gym", tmp_path / "back", rows=str(tmp_path / "train.jsonl"))


def test_what_a_target_cannot_take_is_counted_and_named(tmp_path):
    given = [
        candidate("a-0", verifier="swe"),
        candidate("b-0", verifier="swe", expected_action=says("Done.")),
        candidate("c-0", verifier="swe", expected_action=LOOKS),
        candidate("d-0", expected_action=calls("look", "[1]")),
        candidate("e-0", expected_action=calls("see", "{}")),
        candidate("f-0", verifier="exact+judge"),
    ]
    table = write(tmp_path / "c.parquet", given)
    assert exported(table, "nemo-gym", tmp_path / "gym").left_out == [
        Counted(what="swe_pivot scores no batch of calls", n=1, first="c-0"),
        Counted(what="swe_pivot scores no message", n=1, first="b-0"),
        Counted(what="the demonstrated arguments are not a JSON object", n=1, first="d-0"),
        Counted(what="the demonstrated tool is not declared", n=1, first="e-0"),
    ]
    summary = exported(table, "trl", tmp_path / "trl")
    assert summary.n_rows == 5
    reason = "its verifier asks a judge, and a reward file has none"
    assert summary.left_out == [Counted(what=reason, n=1, first="f-0")]
    assert exported(table, "trl", tmp_path / "exact", verifier="exact").n_rows == 6


def test_openais_lines_imitate_the_demonstration_alone_and_are_read_back(desk_candidates, tmp_path):
    exported(desk_candidates, "openai", tmp_path / "openai")
    given = rows(desk_candidates)
    for row in lines(tmp_path / "openai" / "pivots.jsonl"):
        weights = [message["weight"] for message in row["messages"] if message["role"] == "assistant"]
        assert weights == [0] * (len(weights) - 1) + [1]
        assert row["parallel_tool_calls"] is False
    name, found = read_back(tmp_path / "openai" / "pivots.jsonl")
    assert name == "openai"
    for before, after in zip(given, found, strict=True):
        assert unnamed(after.messages) == unnamed([*before.state, before.expected_action])
        assert json.loads(after.tools) == json.loads(before.tools)


def test_openais_lines_say_what_they_lack(tmp_path):
    row = candidate("a-0", state=[user("Look."), says("Well.", "why"), user("Go.")], expected_action=LOOKS)
    summary = exported(write(tmp_path / "c.parquet", [row]), "openai", tmp_path / "openai")
    assert [one.what for one in summary.not_held] == ["call ids (made up)", "reasoning"]
    (line,) = lines(tmp_path / "openai" / "pivots.jsonl")
    assert line["parallel_tool_calls"] is True
    assert [call["id"] for call in line["messages"][-1]["tool_calls"]] == ["call_3_0", "call_3_1"]


def test_trls_folder_is_a_dataset_of_messages(pivots, tmp_path):
    exported(pivots, "trl", tmp_path / "trl")
    found = datasets.load_from_disk(str(tmp_path / "trl"))
    given = rows(pivots, Pivot)
    assert found["candidate_id"][:] == [one.candidate_id for one in given]
    assert found["reward_mean"][:] == [one.reward_mean for one in given]
    assert [json.loads(tools) for tools in found["tools"]] == [json.loads(TOOLS)] * 2
    assert [(m["role"], m["content"]) for m in found[0]["prompt"]] == [("user", given[0].state[0].content)]
    assert [Candidate.model_validate_json(truth).expected_action for truth in found["ground_truth"]] == [
        one.expected_action for one in given
    ]


def test_trls_prompts_are_ours_where_a_model_is_named(desk_candidates, tmp_path):
    from pivotrl_cli.model.chat import ChatFormat
    from pivotrl_cli.model.folder import load_tokenizer, resolve

    summary = exported(desk_candidates, "trl", tmp_path / "trl", model="desk")
    assert summary.not_held == []
    tokenizer = load_tokenizer(resolve("desk"))
    chat = ChatFormat(tokenizer)
    found, given = datasets.load_from_disk(str(tmp_path / "trl")), rows(desk_candidates)
    assert [tokenizer(text)["input_ids"] for text in found["prompt"][:9]] == [
        chat.prompt_ids(one.state, one.tools) for one in given[:9]
    ]
    reward = reward_file(tmp_path / "trl").reward_for(tokenizer)
    right = [chat.completion_ids(one.state, one.tools, one.expected_action) for one in given[:9]]
    assert reward(completion_ids=right, ground_truth=found["ground_truth"][:9]) == [1.0] * 9
    wrong = [chat.encode("<tool_call>")] * 9
    assert reward(completion_ids=wrong, ground_truth=found["ground_truth"][:9]) == [0.0] * 9


def test_verls_file_and_reward(pivots, tmp_path):
    exported(pivots, "verl", tmp_path / "verl")
    given = rows(pivots, Pivot)
    found = pq.read_table(tmp_path / "verl" / "pivots.parquet").to_pylist()
    assert [list(row) for row in found] == [["data_source", "prompt", "ability", "reward_model", "extra_info"]] * 2
    assert [(row["reward_model"]["style"], row["extra_info"]["index"]) for row in found] == [("rule", 0), ("rule", 1)]
    assert [row["extra_info"]["candidate_id"] for row in found] == [one.candidate_id for one in given]
    message, call = given
    assert message.expected_action.content.startswith("Which order")
    score = reward_file(tmp_path / "verl").compute_score
    truth = {row["extra_info"]["candidate_id"]: row["reward_model"]["ground_truth"] for row in found}
    right = RIGHT.replace("7", "8")
    assert [score("pivotrl", text, truth[call.candidate_id]) for text in (right, RIGHT, TALK, "<tool_call>")] == [
        *(1.0, 0.0, 0.0, 0.0)
    ]
    assert score("pivotrl", WRONG, truth[message.candidate_id]) == 0.0


def test_verls_reward_reads_the_format_of_the_model(tmp_path):
    tokenizer = tiny_tokenizer()
    begin, end = tokenizer.chat_template.index("<tool_call>"), tokenizer.chat_template.rindex("{% endfor %}<|im_end|>")
    call = "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"
    tokenizer.chat_template = tokenizer.chat_template[:begin] + call + tokenizer.chat_template[end:]
    (tmp_path / "reward.py").write_text(_reward_file(ChatFormat(tokenizer)))
    module = reward_file(tmp_path)
    assert module.FORMAT["name"].startswith("mistral")
    truth = ground_truth(candidate("a", expected_action=calls("look", '{"order": 7}')))
    scores = [module.compute_score("pivotrl", f'[TOOL_CALLS]look[ARGS]{{"order": {n}}}', truth) for n in (7, 8)]
    assert scores == [1.0, 0.0]


def test_a_rendered_prompt_passes_verls_chat_template_unchanged(desk_candidates, tmp_path):
    from pivotrl_cli.model.chat import ChatFormat
    from pivotrl_cli.model.folder import load_tokenizer, resolve

    exported(desk_candidates, "verl", tmp_path / "verl", model="desk")
    tokenizer = load_tokenizer(resolve("desk"))
    first = pq.read_table(tmp_path / "verl" / "pivots.parquet").to_pylist()[1]
    ids = tokenizer.apply_chat_template(
        first["prompt"],
        chat_template=(tmp_path / "verl" / "pass_on.jinja").read_text(),
        add_generation_prompt=True,
        return_dict=False,
    )
    one = rows(desk_candidates)[1]
    assert ids == ChatFormat(tokenizer).prompt_ids(one.state, one.tools)


@pytest.mark.parametrize("target", ["nemo-gym", "trl", "verl", "openai"])
def test_the_same_rows_give_the_same_bytes_once(target, pivots, tmp_path):
    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    first = exported(pivots, target, tmp_path / "one")
    exported(pivots, target, tmp_path / "two")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert exported(pivots, target, tmp_path / "one") == first.model_copy(update={"cached": True})
    with pytest.raises(OutputError, match="made differently"):
        exported(pivots, target, tmp_path / "one", verifier="exact")
    exported(pivots, target, tmp_path / "one", verifier="exact", force=True)
    assert str(tmp_path) not in (tmp_path / "one" / "pivotrl.json").read_text()
    assert sorted(tmp_path.glob(".*")) == []


def test_a_failed_export_leaves_nothing(tmp_path):
    table = write(tmp_path / "c.parquet", [candidate("a-0", verifier="swe", expected_action=says("Done."))])
    with pytest.raises(RunError, match=r"nothing to export \(1 swe_pivot scores no message\)"):
        exported(table, "nemo-gym", tmp_path / "gym")
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_an_export_with_a_given_template_keeps_its_tokenizer(desk_candidates, tmp_path):
    template = tmp_path / "note.jinja"
    template.write_text("NOTE\n" + tiny_tokenizer().chat_template)
    exported(desk_candidates, "trl", tmp_path / "trl", model="desk", chat_template=template)
    prompts = datasets.load_from_disk(str(tmp_path / "trl"))["prompt"]
    assert all(prompt.startswith("NOTE<|im_start|>") for prompt in prompts)
    assert (tmp_path / "trl/tokenizer/chat_template.jinja").read_text() == template.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "nemo"}, "unknown target 'nemo'"),
        ({"to": "openai", "model": "desk"}, "--model renders prompts, and openai takes messages"),
        ({"to": "trl", "verifier": "exat"}, "unknown verifier 'exat'"),
        ({"to": "trl", "output": "-"}, "an export is a folder"),
        ({"to": "trl", "rows": "train.jsonl"}, "--rows are rows of NeMo Gym, not of trl"),
        ({"to": "nemo-gym", "rows": "train.jsonl", "verifier": "exact"}, "--rows keeps the rows' own agents"),
        ({"to": "trl", "chat_template": "t.jinja"}, "are of a model"),
    ],
)
def test_wrong_options_are_refused(options, message, pivots, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export.run(ExportConfig(**{"pivots": str(pivots), "output": str(tmp_path / "out")} | options))


@pytest.mark.slow
def test_trls_trainer_takes_a_step_on_the_export(desk_candidates, tmp_path):
    """In a process of its own, since TRL warns while it is imported."""
    exported(desk_candidates, "trl", tmp_path / "trl", model="desk")
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "trl_step.py"), str(tmp_path)],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path / 'trl'}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["steps"] == 1
    assert 0.0 < told["reward"] <= 1.0
    assert told["moved"] > 0.0
