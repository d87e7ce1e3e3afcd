"""Other harnesses: their commands, what they lack; lm-eval, Inspect, BFCL and tau2-bench really run where installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from faulty_server import faulty_server
from tables import read

from pivotrl_cli.configs import HarnessConfig
from pivotrl_cli.errors import ConfigError, OutputError, RunError
from pivotrl_cli.harnesses.table import ALSO, HARNESSES, SUITES
from pivotrl_cli.importers import IMPORTERS
from pivotrl_cli.interface.cli import main
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stages.harness import run as stage

URL = "http://127.0.0.1:8000/v1"
TAU2_DATA = os.environ.get("TAU2_DATA_DIR", "")
POLICY = Path(stage.__file__).parents[2] / "policies" / "desk"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No key and no data of another harness in the environment."""
    for name in ("OPENAI_API_KEY", "TAU2_DATA_DIR", "NEMO_SKILLS_CONFIG", "SERPAPI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def plan(capsys, *tasks: str, **options) -> dict:
    """The printed plan by harness."""
    given = {"model": "m", "endpoint": URL, "output": "out", "json_summary": True} | options
    stage.run(HarnessConfig(tasks=list(tasks), **given))
    return json.loads(capsys.readouterr().out)


def test_the_commands_are_exact(capsys, tmp_path):
    found = plan(
        capsys,
        "lm-eval:gsm8k",
        "lm-eval:ifeval",
        "inspect:tau2_airline",
        "harbor:terminal-bench@2.0",
        limit=5,
        trials=2,
        seed=7,
        concurrency=4,
        args=["lm-eval=--include_path 'my tasks'"],
        user_url="http://127.0.0.1:8001/v1",
        user_model="u",
    )
    key = 'OPENAI_API_KEY="$OPENAI_API_KEY"'
    assert {name: one["commands"] for name, one in found.items()} == {
        "lm-eval": [
            f"{key} lm_eval run --model local-chat-completions --model_args "
            f"model=m,base_url={URL}/chat/completions,num_concurrent=4,seed=7 --tasks gsm8k,ifeval "
            f"--apply_chat_template --log_samples --output_path {tmp_path}/out/lm-eval --seed 7 "
            "--gen_kwargs temperature=0 --limit 5 --include_path 'my tasks'"
        ],
        "inspect": [
            f'PIVOTRL_API_KEY="$OPENAI_API_KEY" PIVOTRL_BASE_URL={URL} USER_API_KEY="$OPENAI_API_KEY" '
            "USER_BASE_URL=http://127.0.0.1:8001/v1 inspect eval inspect_evals/tau2_airline --model "
            "openai-api/pivotrl/m --model-role user=openai-api/user/u --epochs 2 --limit 5 --seed 7 --temperature 0 "
            "--max-connections 4 --no-fail-on-error --display plain "
            f"--log-dir {tmp_path}/out/inspect --log-format json"
        ],
        "harbor": [
            f"{key} harbor run -d terminal-bench@2.0 -a terminus-2 -m openai/m --ak api_base={URL} --ak temperature=0 "
            f"-k 2 -n 4 -l 5 -o {tmp_path}/out/harbor"
        ],
    }


def test_the_suites_are_the_papers(capsys):
    ood = plan(capsys, suite="ood", trials=4)
    assert ood.keys() == {"nemo-skills"}
    assert (
        "--benchmarks=ifbench:4,aime25:4,math-500:4,livecodebench:4,scicode:4,mmlu-pro:4,mmlu-prox:4,wmt24pp:4 "
        in (ood["nemo-skills"]["commands"][1])
    )
    assert "aime25 is lm-eval:aime25, inspect:aime2025 too" in ood["nemo-skills"]["also"]
    agentic = plan(capsys, suite="agentic", user_url="http://h/v1", user_model="u")
    assert {name: one["tasks"] for name, one in agentic.items()} == {
        "tau2-bench": ["airline", "retail", "telecom"],
        "swe-bench": ["verified"],
        "harbor": ["terminal-bench@2.0"],
        "inspect": ["browse_comp"],
    }


def test_nemo_gym_has_all_twelve_and_its_key_stays_in_the_environment(capsys, tmp_path):
    found = plan(capsys, suite="gym", trials=4, output=tmp_path)["nemo-gym"]
    assert len(found["tasks"]) == 12
    assert found["commands"][6:8] == [
        "gym eval prepare --benchmark livecodebench/v6_2408_2505/config",
        'PIVOTRL_API_KEY="$OPENAI_API_KEY" gym eval run --benchmark livecodebench/v6_2408_2505/config '
        f"--split benchmark --model-type vllm_model --model m --model-url {URL} "
        "--model-api-key '${oc.env:PIVOTRL_API_KEY}' "
        f"--output {tmp_path}/nemo-gym/livecodebench_v6_2408_2505.jsonl --num-repeats 4 --temperature 0 "
        "--concurrency 8 --resume",
    ]


def test_what_is_missing_is_named_with_the_way_out(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = plan(capsys, "tau2-bench:retail", "bfcl:simple_python", user_url="http://h/v1", user_model="u")
    assert [(one["what"], one["there"]) for one in found["tau2-bench"]["needs"]] == [
        ("program tau2", False),
        ("variable TAU2_DATA_DIR (the folder data of its repository)", False),
        ("a simulated user", True),
        ("variable OPENAI_API_KEY (its judge, a hosted model)", False),
    ]
    assert found["bfcl"]["needs"][1] == {
        "what": "the model's name in BFCL's registry",
        "there": False,
        "hint": "add --registry-model NAME",
    }
    with pytest.raises(ConfigError) as error:
        stage.run(HarnessConfig(tasks=["bfcl:simple_python"], endpoint=URL, run=True))
    assert (error.value.message, error.value.hint) == (
        "bfcl lacks program bfcl",
        "uv pip install bfcl-eval soundfile, in an environment of its own that --env bfcl=FOLDER names",
    )


def test_a_plan_without_server_and_user_shows_where_they_belong_and_does_not_run(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = plan(capsys, "tau2-bench:airline", endpoint=None)["tau2-bench"]
    assert '--agent-llm-args \'{"api_base": "SERVER_URL", ' in found["commands"][0]
    assert '--user-llm openai/USER_MODEL --user-llm-args \'{"api_base": "USER_URL", ' in found["commands"][0]
    missing = {one["what"]: one["hint"] for one in found["needs"] if one["there"] is False}
    assert missing["a server of the model"] == "add --endpoint http://HOST:PORT/v1, or --serve"
    assert missing["a simulated user"] == "add --user-url and --user-model"
    with pytest.raises(ConfigError, match="tau2-bench lacks a server of the model"):
        stage.run(HarnessConfig(tasks=["tau2-bench:airline"], run=True))


def test_every_harness_has_an_importer_and_every_suite_a_harness():
    assert {harness.importer for harness in HARNESSES.values()} <= IMPORTERS.keys()
    named = [*(task for suite in SUITES.values() for task in suite), *ALSO, *(t for ts in ALSO.values() for t in ts)]
    assert {task.partition(":")[0] for task in named} <= HARNESSES.keys()


WRONG = [
    ({"tasks": []}, "no task is named"),
    ({"tasks": ["gsm8k"]}, "'gsm8k' is not HARNESS:TASK"),
    ({"tasks": ["lm_eval:gsm8k"]}, "unknown harness 'lm_eval'"),
    ({"tasks": ["lm-eval:gsm8k"], "env": ["lm_eval=x"]}, "--env 'lm_eval=x' is not HARNESS=FOLDER"),
    ({"tasks": ["swe-bench:preds.jsonl"]}, "swe-bench:preds.jsonl is neither a subset nor a file"),
    ({"tasks": ["bfcl:simple_python"], "limit": 3}, "bfcl takes no --trials and no --limit"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_plan_that_cannot_be_made_says_so(options, message):
    with pytest.raises(ConfigError) as error:
        stage.run(HarnessConfig.model_validate({"endpoint": URL} | options))
    assert error.value.message == message


def test_the_key_stands_in_no_plan_and_reaches_the_process(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    environment = tmp_path / "env" / "bin"
    environment.mkdir(parents=True)
    program = environment / "harbor"
    program.write_text('#!/bin/sh\necho "$OPENAI_API_KEY" > key\necho "no such data set" >&2\nexit 3\n')
    program.chmod(0o755)
    config = HarnessConfig(tasks=["harbor:x"], endpoint=URL, env=["harbor=env"])
    (step,) = stage._plan(config, "harbor", ["x"]).steps
    assert "sk-secret" not in str(step)
    with pytest.raises(RunError) as error:
        stage._run_step("harbor", step, tmp_path / "harbor.log")
    assert (error.value.message, error.value.hint) == (
        "harbor ended with 3: no such data set",
        f"see {tmp_path}/harbor.log",
    )
    assert (tmp_path / "key").read_text() == "sk-secret\n"


def test_a_server_without_the_model_stops_before_anything_runs(tmp_path):
    environment = tmp_path / "env" / "bin"
    environment.mkdir(parents=True)
    (environment / "lm_eval").write_text("#!/bin/sh\ntouch ran\n")
    (environment / "lm_eval").chmod(0o755)
    with faulty_server(lambda path, body: {"data": [{"id": "other"}]}, lambda i: None) as (url, _):
        config = HarnessConfig(tasks=["lm-eval:x"], model="m", endpoint=url, env=["lm-eval=env"], run=True)
        with pytest.raises(ConfigError, match="has no model m"):
            stage.run(config)
    assert not (tmp_path / "ran").exists()


def test_the_plan_reads_well(capsys, monkeypatch):
    words = ["harness", "lm-eval:gsm8k", "--model", "m", "--serve", "--serve-args", "--max-model-len 8192"]
    monkeypatch.setattr(sys, "argv", ["pivotrl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "# the model's server",
        "vllm serve m --port 8000 --max-model-len 8192",
        "",
        "# lm-eval: gsm8k",
    ]


TASK = """\
task: additions
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  max_gen_toks: 8
  until: []
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


def additions(path: str, body: dict) -> dict:
    """A server whose model adds, but for 4."""
    if not body:
        return {"data": [{"id": "m"}]}
    first, second = body["messages"][-1]["content"].removeprefix("Add ").removesuffix(".").split(" and ")
    answer = "?" if first == "4" else str(int(first) + int(second))
    message = {"role": "assistant", "content": answer}
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def write_task(folder: Path) -> None:
    questions = [{"question": f"Add {i} and 2.", "answer": str(i + 2)} for i in range(6)]
    (folder / "additions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (folder / "tasks").mkdir()
    (folder / "tasks" / "additions.yaml").write_text(TASK.format(data=folder / "additions.jsonl"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("lm_eval") is None, reason="lm_eval is not on PATH")
@pytest.mark.parametrize("where", ["server", "folder"])
def test_lm_eval_is_run_and_its_results_imported(where, tmp_path, monkeypatch):
    write_task(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    options = {"tasks": ["lm-eval:additions"], "args": ["lm-eval=--include_path tasks"], "run": True}
    with faulty_server(additions, lambda i: None) as (url, _):
        server = {"endpoint": url, "model": "m"} if where == "server" else {"model": "desk", "limit": 2}
        stage.run(HarnessConfig.model_validate(options | server))
    rows = read(tmp_path / "harness" / "lm-eval.parquet", EvalResult)
    with pytest.raises(OutputError, match="has results, and lm-eval cannot resume"):
        stage.run(HarnessConfig.model_validate(options | server))
    if where == "server":
        assert [(row.task_id, row.score) for row in rows] == [(str(i), float(i != 4)) for i in range(6)]
    else:
        assert [(row.task_id, row.status) for row in rows] == [("0", "ok"), ("1", "ok")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("inspect") is None, reason="inspect is not on PATH")
def test_inspect_is_run_and_its_log_imported(tmp_path):
    (tmp_path / "additions.py").write_text(
        "from inspect_ai import Task, task\n"
        "from inspect_ai.dataset import Sample\n"
        "from inspect_ai.scorer import exact\n\n"
        "@task\n"
        "def additions():\n"
        "    samples = [Sample(input=f'Add {i} and 2.', target=str(i + 2), id=str(i)) for i in range(6)]\n"
        "    return Task(dataset=samples, scorer=exact())\n"
    )
    with faulty_server(with_tool, lambda i: None) as (url, _):
        options = {"tasks": ["inspect:additions.py"], "model": "m", "endpoint": url, "run": True, "trials": 2}
        stage.run(HarnessConfig.model_validate(options))
    rows = read(tmp_path / "harness" / "inspect.parquet", EvalResult)
    assert {(row.task_id, row.trial): row.score for row in rows} == {
        (str(i), trial): float(i != 4) for i in range(6) for trial in (0, 1)
    }


def with_tool(path: str, body: dict) -> dict:
    """The same model, which answers the canary by a call."""
    if body.get("tools"):
        call = {"id": "c", "type": "function", "function": {"name": "report_ready", "arguments": '{"ready": true}'}}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    return additions(path, body)


def bfcl_data() -> Path:
    """The tasks that are installed with `bfcl`."""
    program = Path(shutil.which("bfcl") or "").resolve()
    return next(program.parents[1].glob("lib/python*/site-packages/bfcl_eval/data"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def accepted(known: object) -> object:
    """Arguments that BFCL accepts: of the values of each the first, where the empty string means none at all."""
    if isinstance(known, list):
        return [accepted(item) for item in known]
    if not isinstance(known, dict):
        return known
    given = {key: [value for value in values if value != ""] for key, values in known.items()}
    return {key: accepted(values[0]) for key, values in given.items() if values}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bfcl") is None, reason="bfcl is not on PATH")
def test_bfcl_is_run_and_its_scores_imported(tmp_path, monkeypatch):
    """The model knows every answer, but does not call at all in every tenth task."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data, name = bfcl_data(), "BFCL_v4_simple_python.json"
    tasks, truths = lines(data / name), lines(data / "possible_answer" / name)
    answers = {}
    for i, (task, truth) in enumerate(zip(tasks, truths, strict=True)):
        ((tool, arguments),) = truth["ground_truth"][0].items()
        call = {"name": tool, "arguments": accepted(arguments)}
        text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
        answers[task["question"][0][0]["content"], tool] = "No." if i % 10 == 0 else text

    def answer(path: str, body: dict) -> dict:
        if not body:
            return {"data": [{"id": "Qwen/Qwen3-8B"}]}
        known = [key for key in answers if all(text in body["prompt"] for text in key)]
        text = answers[max(known, key=lambda key: len(key[0]))]
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return {"choices": [{"index": 0, "text": text, "finish_reason": "stop"}], "usage": usage}

    with faulty_server(answer, lambda i: None) as (url, _):
        options = {"tasks": ["bfcl:simple_python"], "model": "Qwen/Qwen3-8B", "endpoint": url, "run": True}
        more = {"registry_model": "Qwen/Qwen3-8B-FC", "tokenizer": POLICY, "concurrency": 8}
        stage.run(HarnessConfig.model_validate(options | more))
    rows = read(tmp_path / "harness" / "bfcl.parquet", EvalResult)
    scores = {row.task_id: row.score for row in rows}
    assert scores == {task["id"]: float(i % 10 != 0) for i, task in enumerate(tasks)}


def team(path: str, body: dict) -> dict:
    """A server of a user and of an agent that creates tasks but never updates one."""
    if not body:
        return {"data": [{"id": "m"}, {"id": "u"}]}
    if body.get("tools") and body["messages"][-1]["role"] == "user" and body["model"] == "m":
        asked = body["messages"][-1]["content"]
        call = None
        if body["tools"][0]["function"]["name"] == "report_ready":
            call = ("report_ready", {"ready": True})
        elif "create" in asked:
            call = ("create_task", {"user_id": "user_1", "title": "Important Meeting"})
        if call:
            function = {"name": call[0], "arguments": json.dumps(call[1])}
            return reply(body, None, [{"id": "c", "type": "function", "function": function}])
    if body["model"] == "m":
        return reply(body, "Done.")
    if any("Done." in str(message["content"]) for message in body["messages"][1:]):
        return reply(body, "###STOP###")
    create = "create a task" in body["messages"][0]["content"]
    return reply(body, "Please create Important Meeting." if create else "Please mark task_1 as completed.")


def reply(body: dict, content: str | None, tool_calls: list[dict] | None = None) -> dict:
    message = {"role": "assistant", "content": content} | ({"tool_calls": tool_calls} if tool_calls else {})
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tool_calls else "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    made = {"id": "r", "object": "chat.completion", "created": 0, "model": body["model"]}
    return made | {"choices": [choice], "usage": usage}


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("tau2") and TAU2_DATA), reason="tau2 is not on PATH, or TAU2_DATA_DIR not set")
def test_tau2_bench_is_run_and_its_results_imported(tmp_path, monkeypatch):
    shutil.copytree(Path(TAU2_DATA) / "tau2", tmp_path / "data" / "tau2")
    monkeypatch.setenv("TAU2_DATA_DIR", str(tmp_path / "data"))
    tasks = ["create_task_1", "create_task_1_with_env_assertions", "update_task_1"]
    with faulty_server(team, lambda i: None) as (url, _):
        options = {"tasks": ["tau2-bench:mock"], "model": "m", "endpoint": url, "run": True, "trials": 2}
        more = {"user_url": url, "user_model": "u", "args": [f"tau2-bench=--task-ids {' '.join(tasks)}"]}
        stage.run(HarnessConfig.model_validate(options | more))
    rows = read(tmp_path / "harness" / "tau2-bench.parquet", EvalResult)
    assert {(row.task_id, row.trial): row.score for row in rows} == {
        (task, trial): float(task != "update_task_1") for task in tasks for trial in (0, 1)
    }
