from __future__ import annotations

import json
from pathlib import Path

import pytest
from recorded import DATA, needs_recorded
from tables import CUT, FAILED, RIGHT, TALK, TOOLS, WRONG, calls, candidate, read, says, script, user, write
from tiny_models import tiny_tokenizer

from pivotrl_cli.configs import ExtractConfig, ProfileConfig, ScoreConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import Candidate, Profile, ProfileStatus, Rollout, TrainRollout
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.score import audit
from pivotrl_cli.stages.score import run as score
from pivotrl_cli.stages.score.changed_values import ANY, changed_texts, kind_of
from pivotrl_cli.stages.shared.judge import needs_judge
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.table import Table
from pivotrl_cli.storage.table_writer import TableWriter
from pivotrl_cli.verifiers import load_verifier

GYM = Path(__file__).parents[1] / "data" / "gym"


@pytest.fixture
def profiled(tmp_path) -> Path:
    """Two candidates, four rollouts each: right, wrong value, talk, cut; and one that failed."""
    write(tmp_path / "c.parquet", [candidate("a-000"), candidate("b-000")])
    lines = {"a-000": [RIGHT, WRONG, TALK, CUT], "b-000": [RIGHT, RIGHT, "<tool_call>broken", FAILED]}
    config = ProfileConfig(
        candidates=str(tmp_path / "c.parquet"),
        engine="replay",
        replay=script(tmp_path / "s.jsonl", lines),
        n=4,
        output=str(tmp_path / "p.parquet"),
    )
    profile.run(config)
    return tmp_path / "p.parquet"


def test_recorded_rewards_are_compared_with_every_verifiers(profiled):
    found = score.run(ScoreConfig(rollouts=str(profiled), verifier=["tool_call", "tool_name"]))
    assert found.rollouts == 6
    assert found.unscored == 2
    assert found.means == {"recorded": 3 / 6, "tool_call": 3 / 6, "tool_name": 4 / 6}
    assert found.needs_judge == {"tool_call": 2, "tool_name": 1}  # not the text that is no action
    assert found.similar == {"tool_call": 0, "tool_name": 4}
    assert [tuple(pair.model_dump().values()) for pair in found.pairs] == [
        ("recorded", "tool_call", 3, 0, 0, 3, 0),
        ("recorded", "tool_name", 3, 0, 1, 2, 0),
        ("tool_call", "tool_name", 3, 0, 1, 2, 0),
    ]  # both, only the first, only the second, neither, partial rewards that differ
    assert [(row.candidate_id, row.sample, row.alike) for row in found.telling] == [("a-000", 1, 1)]
    assert found.telling[0].rewards == {"recorded": 0.0, "tool_call": 0.0, "tool_name": 1.0}
    assert found.telling[0].expected == 'look {"order": 7}'


def test_a_profile_is_written_anew_with_the_first_verifiers_rewards(profiled, tmp_path):
    config = ScoreConfig(rollouts=str(profiled), verifier=["tool_name"], output=str(tmp_path / "new.parquet"))
    score.run(config)
    old, new = read(profiled, Profile), read(tmp_path / "new.parquet", Profile)
    assert [[r.reward for r in row.rollouts] for row in old] == [[1.0, 0.0, 0.0, None], [1.0, 1.0, 0.0, None]]
    assert [[r.reward for r in row.rollouts] for row in new] == [[1.0, 1.0, 0.0, None], [1.0, 1.0, 0.0, None]]
    assert [row.reward_mean for row in new] == [2 / 3, 2 / 3]
    assert [row.status for row in new] == [ProfileStatus.OK, ProfileStatus.OK]
    assert [(row.candidate_id, row.state, row.n_error, row.n_truncated) for row in new] == [
        (row.candidate_id, row.state, row.n_error, row.n_truncated) for row in old
    ]
    assert score.run(config).cached is True


def test_scoring_with_the_same_verifier_changes_nothing(profiled, tmp_path):
    score.run(ScoreConfig(rollouts=str(profiled), output=str(tmp_path / "same.parquet")))
    assert read(tmp_path / "same.parquet", Profile) == read(profiled, Profile)


def test_training_rollouts_need_their_pivots(tmp_path):
    rows = [
        TrainRollout(
            step=1, candidate_id="a-000", sample=i, text=text, reward=reward, verdict="v", advantage=None,
            n_tokens=3, finish_reason="stop",
        )
        for i, (text, reward) in enumerate([(RIGHT, 1.0), (WRONG, 0.0), ("cut", None)])
    ]  # fmt: skip
    write(tmp_path / "r.parquet", rows, TrainRollout)
    write(tmp_path / "c.parquet", [candidate("a-000")])
    with pytest.raises(ConfigError, match="by id alone"):
        score.run(ScoreConfig(rollouts=str(tmp_path / "r.parquet"), verifier=["exact"]))
    found = score.run(
        ScoreConfig(rollouts=str(tmp_path / "r.parquet"), candidates=tmp_path / "c.parquet", verifier=["exact"])
    )
    assert (found.rollouts, found.unscored, found.means) == (2, 1, {"recorded": 0.5, "exact": 0.5})


def test_training_rollouts_are_read_in_the_format_of_the_model_beside_them(tmp_path):
    text = '[TOOL_CALLS]look[ARGS]{"order": 7}'
    row = TrainRollout(
        step=1, candidate_id="a-000", sample=0, text=text, reward=1.0, verdict="v", advantage=None,
        n_tokens=3, finish_reason="stop",
    )  # fmt: skip
    made = Provenance("rollouts", "train", {"method": "grpo", "model": "mine"}, [])
    with TableWriter(str(tmp_path / "rollouts.parquet"), TrainRollout, made) as out:
        out.write(row)
    write(tmp_path / "c.parquet", [candidate("a-000")])
    config = ScoreConfig(
        rollouts=str(tmp_path / "rollouts.parquet"), candidates=tmp_path / "c.parquet", verifier=["exact"]
    )
    with pytest.raises(InputError, match="how mine writes calls is not known here"):
        score.run(config)
    tokenizer = tiny_tokenizer()
    inside = tokenizer.chat_template.partition("<tool_call>")[2].partition("</tool_call>")[0]
    mistral = "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"
    tokenizer.chat_template = tokenizer.chat_template.replace(f"<tool_call>{inside}</tool_call>", mistral)
    tokenizer.save_pretrained(tmp_path)
    assert score.run(config).means == {"recorded": 1.0, "exact": 1.0}


def test_a_candidates_table_has_no_rollouts(tmp_path):
    path = write(tmp_path / "c.parquet", [candidate("a-000")])
    with pytest.raises(InputError, match="no rollouts in this table"):
        score.run(ScoreConfig(rollouts=str(path), verifier=["exact"]))


@pytest.mark.parametrize(
    ("file", "verifier", "rewards"),
    [
        ("single_step", "tool_call_compat", [1, 0, 0, 1]),
        ("harness", "terminal_compat", [1, 0, 1]),
        ("terminus", "terminus_compat", [1, 0, 0]),
    ],
)
def test_rollouts_of_nemo_gyms_form_are_scored_as_they_were(file, verifier, rewards):
    found = score.run(ScoreConfig(rollouts=str(GYM / f"{file}.jsonl"), verifier=[verifier]))
    mean = sum(rewards) / len(rewards)
    assert (found.rollouts, found.telling) == (len(rewards), [])
    assert found.means == {"recorded": mean, verifier: mean}


@needs_recorded
@pytest.mark.parametrize(
    ("server", "verifier", "mean"),
    [
        ("single_step_tool_use_with_argument_comparison", "tool_call_compat", 3 / 5),
        ("terminal_multi_harness", "terminal_compat", 4 / 5),
        ("terminus_judge", "terminus_compat", 0.0),
    ],
)
def test_nemo_gyms_own_rollouts_are_scored_as_they_were(server, verifier, mean):
    path = DATA / "nemo_gym" / server / "example_rollouts.jsonl"
    found = score.run(ScoreConfig(rollouts=str(path), verifier=[verifier]))
    assert (found.rollouts, found.telling) == (5, [])
    assert found.means == {"recorded": mean, verifier: mean}


@needs_recorded
@pytest.mark.parametrize(("server", "verifier"), [("xlam_fc", "xlam_fc_compat"), ("swe_pivot", "swe_compat")])
def test_nemo_gyms_rollouts_find_their_demonstrations_among_candidates(tmp_path, server, verifier):
    folder, table = DATA / "nemo_gym" / server, tmp_path / "c.parquet"
    extract.run(ExtractConfig(sources=[str(folder / "example.jsonl")], verifier=verifier, output=str(table)))
    rollouts = str(folder / "example_rollouts.jsonl")
    found = score.run(ScoreConfig(rollouts=rollouts, candidates=table))
    assert (found.rollouts, found.telling, list(found.means)) == (5, [], ["recorded", verifier])
    with pytest.raises(InputError, match="does not say what was demonstrated"):
        score.run(ScoreConfig(rollouts=rollouts, verifier=[verifier]))


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, False),
        ({"reward": 0.0}, True),
        ({"reward": 0.5}, True),
        ({"verdict": "judge_same"}, True),
        ({"reward": None}, False),
        ({"reward": 0.0, "action": None}, False),
        ({"reward": 0.0, "verdict": "truncated"}, False),
    ],
)
def test_a_judge_is_needed_where_the_rule_does_not_accept_a_complete_action(changes, needed):
    accepted = Rollout(
        sample=0, text="hi", action=says("hi"), reward=1.0, verdict="expected_chat_message_found", detail="",
        error=None, n_tokens=1, logprob=None, finish_reason="stop", seed=0,
    )  # fmt: skip
    assert needs_judge(accepted.model_copy(update=changes)) is needed


def test_audit_counts_what_is_accepted(tmp_path):
    rows = [
        candidate("a-000", turn=0, n_turns=3),
        candidate("a-001", turn=1, n_turns=3, expected_action=says("Order 7 is on its way to you now.")),
        candidate("a-002", turn=2, n_turns=3, expected_action=calls("look", '{"order": 9}')),
    ]
    path = write(tmp_path / "c.parquet", rows)
    found = score.run(ScoreConfig(rollouts=str(path), audit=True))
    assert found.demonstrations_refused == 0
    tried = {name: (c.tried, c.accepted) for name, c in found.probes.items()}
    assert tried == {
        "another turn's action": (2, 0),
        "a required argument dropped": (2, 0),
        "a value changed": (2, 0),
        "a message that does nothing": (3, 0),
        "all tools at once": (0, 0),
        "message: a number changed": (1, 0),
    }
    compat = score.run(ScoreConfig(rollouts=str(path), audit=True, verifier=["tool_call_compat"])).probes
    assert compat["a message that does nothing"].accepted == 1
    name_only = score.run(ScoreConfig(rollouts=str(path), audit=True, verifier=["tool_name"])).probes
    nothing = {"accepted": 0, "partial": 0, "examples": [], "first_accepted": None}
    assert name_only["another turn's action"].model_dump() == {"tried": 2} | nothing
    changed = {"candidate_id": "a-000", "expected": 'look {"order": 7}', "accepted": 'look {"order": 8}'}
    assert name_only["a value changed"].model_dump() == {
        "tried": 2, "accepted": 2, "partial": 0, "examples": ["a-000", "a-002"], "first_accepted": changed
    }  # fmt: skip


def test_probes_are_what_they_say():
    two = json.dumps([*json.loads(TOOLS), {"type": "function", "function": {"name": "act", "parameters": {}}}])
    one = candidate("a-000", tools=two, state=[user("?")])
    wrong = {name: probe(one, says("Hello.")) for name, probe in audit.PROBES.items()}
    assert wrong == {
        "another turn's action": says("Hello."),
        "a required argument dropped": calls("look", "{}"),
        "a value changed": calls("look", '{"order": 8}'),
        "a message that does nothing": says(audit.NO_OP),
        "all tools at once": one.expected_action.model_copy(
            update={"tool_calls": [*one.expected_action.tool_calls, *calls("act", "{}").tool_calls]}
        ),
    }


@pytest.mark.parametrize(
    ("key", "text", "changed"),
    [
        (
            "query",
            "SELECT id FROM users WHERE age > 30 AND NOT gone ORDER BY id DESC",
            {
                "query: and for or": "SELECT id FROM users WHERE age > 30 OR NOT gone ORDER BY id DESC",
                "query: an opposite": "SELECT id FROM users WHERE age > 30 AND NOT gone ORDER BY id ASC",
                "query: a comparison turned round": "SELECT id FROM users WHERE age < 30 AND NOT gone ORDER BY id DESC",
                "query: a negation dropped": "SELECT id FROM users WHERE age > 30 AND gone ORDER BY id DESC",
                "query: a number changed": "SELECT id FROM users WHERE age > 31 AND NOT gone ORDER BY id DESC",
            },
        ),
        (
            "command",
            "cp -r a b && pip install x==2",
            {
                "command: an opposite": "cp -r a b && pip uninstall x==2",
                "command: and for or": "cp -r a b || pip install x==2",
                "command: operands exchanged": "cp -r b a && pip install x==2",
                "command: a flag changed": "cp --not-r a b && pip install x==2",
                "command: a number changed": "cp -r a b && pip install x==3",
            },
        ),
        (
            "text",
            "if ready:\n    run()\nwait()\n",
            {"code: a line moved into the block above": "if ready:\n    run()\n    wait()\n"},
        ),
        (
            "text",
            "web:\n  port: 80\nname: x\n",
            {
                "data: a line moved into the block above": "web:\n  port: 80\n  name: x\n",
                "data: a number changed": "web:\n  port: 81\nname: x\n",
            },
        ),
        (
            "note",
            "Do not fly Maria from Oslo to Rome.",
            {
                "prose: a negation dropped": "fly Maria from Oslo to Rome.",
                "prose: ends exchanged": "Do not fly Maria from Rome to Oslo.",
                "prose: a name changed": "Do not fly Otto from Oslo to Rome.",
            },
        ),
        (
            "note",
            "1. No worries, it isn't late. 2. You cannot fly at 10.",
            {
                "prose: a negation dropped": "1. No worries, it is late. 2. You cannot fly at 10.",
                "prose: a number changed": "1. No worries, it isn't late. 2. You cannot fly at 11.",
            },
        ),
        ("note", "会议在上午十点开始", {"prose: an opposite": "会议在下午十点开始"}),
        ("id", "A17", {"name or id: a number changed": "A18"}),
        ("link", "https://a.org/7", {"url: a number changed": "https://a.org/8"}),
        ("id", "", {}),
    ],
)
def test_values_are_changed_by_their_kind(key, text, changed):
    demonstration = calls("look", json.dumps({"order": 7, key: text}))
    one = candidate("a-000", expected_action=demonstration)
    found = {name: wrong for name, wrong in audit.wrong_actions(one, None) if name not in audit.PROBES}
    assert found == {name: calls("look", json.dumps({"order": 7, key: other})) for name, other in changed.items()}


@pytest.mark.parametrize(
    "piece", [" \n", "  a\n", "x = 1\n", "a: = b", "foo:\n  a\n", "cp -a ", "word ", "a", "-", "7", "{"]
)
def test_long_texts_of_any_shape_are_changed_in_linear_time(piece):
    text = piece * (60_000 // len(piece))
    for kind in ANY | {kind_of("text", text)}:
        assert all(other != text for _, other in changed_texts(text, kind))


def test_what_terminus_types_is_a_command():
    typed = {"analysis": "2 files", "plan": "", "commands": [{"keystrokes": "ls -l\n"}, {"keystrokes": "cat 5\n"}]}
    one = candidate("a-000", expected_action=says(json.dumps(typed)))
    found = {
        name: json.loads(wrong.content)["commands"] for name, wrong in audit.wrong_actions(one, None) if ":" in name
    }
    assert found == {
        "command: a flag changed": [{"keystrokes": "ls --not-l\n"}, {"keystrokes": "cat 5\n"}],
        "command: a number changed": [{"keystrokes": "ls -l\n"}, {"keystrokes": "cat 6\n"}],
    }


@needs_recorded
def test_the_default_verifier_lets_no_exploit_through_on_recorded_runs(tmp_path):
    from pivotrl_cli.configs import ExtractConfig
    from pivotrl_cli.stages.extract import run as extract

    output = tmp_path / "c.parquet"
    extract.run(ExtractConfig(sources=[str(DATA / "tau2_bench/openai_sft")], output=str(output)))
    with Table.open(output, Candidate) as table:
        found = audit.audit(table, {"tool_call": load_verifier("tool_call")})
    accepted = {name: c.accepted for name, c in found.probes.items() if name in audit.PROBES}
    tried = {name: c.tried for name, c in found.probes.items()}
    assert found.demonstrations_refused == 0
    assert tried["all tools at once"] > 300
    assert accepted.pop("another turn's action") < 0.05 * tried["another turn's action"]
    assert accepted == {
        "a required argument dropped": 0,
        "a value changed": 0,
        "a message that does nothing": 0,
        "all tools at once": 0,
    }
