"""Importers reproduce the means that harnesses state: on real outputs where there are some, else on small ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recorded import DATA, needs_recorded
from recorded import recorded as shared
from tables import read

from pivotrl_cli.configs import ImportConfig
from pivotrl_cli.errors import ConfigError, InputError, OutputError, RunError
from pivotrl_cli.importers import IMPORTERS, load_importer
from pivotrl_cli.importers.results import File
from pivotrl_cli.readers.sources import Source
from pivotrl_cli.rows import EvalResult, Message
from pivotrl_cli.stages import import_eval as stage


def imported(folder: Path, *sources: Path, **options: Any) -> tuple[stage.ImportSummary, list[EvalResult]]:
    """Summary and rows; whatever was not measured is accepted."""
    output = folder / "eval.parquet"
    config = ImportConfig(
        sources=[str(s) for s in sources], output=str(output), force=True, **({"max_error_rate": 1.0} | options)
    )
    return stage.run(config), read(output, EvalResult)


def put(path: Path, *values: Any) -> Path:
    """One JSON object as a file, or several as lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


# ---- real outputs -------------------------------------------------------------------------------------------------


def test_lm_evals_mean_is_reproduced(tmp_path):
    summary, rows = imported(tmp_path, shared("eval_samples"), model="dummy", format="auto")
    (stated,) = summary.reported
    assert (stated.benchmark, stated.metric, stated.n) == ("local_arith", "exact_match,strict", 12)
    assert (stated.mean, stated.agrees) == (pytest.approx(8 / 12), "errors left out")
    assert [(row.task_id, row.score) for row in rows[:2]] == [("0", 0.0), ("1", 1.0)]
    assert rows[0].transcript == [Message(role="assistant", content="The answer is 4\n#### 4\nANSWER: A")]
    assert summary.formats["lm_eval: records have doc_id and resps"] == 1


def test_inspects_epochs_are_trials(tmp_path):
    summary, rows = imported(tmp_path, shared("eval_samples/inspect_epochs3.json"))
    (stated,) = summary.reported
    assert (stated.mean, stated.n, stated.agrees) == (pytest.approx(2 / 3), 18, "errors left out")
    assert sorted({(row.task_id, row.trial) for row in rows}) == [(str(t), e) for t in range(6) for e in range(3)]
    assert {(row.model, row.seed, row.cluster == row.task_id) for row in rows} == {("openai-api/local/dummy", 7, True)}
    assert (rows[0].n_turns, rows[0].n_tool_calls, rows[0].n_tokens, rows[0].seconds) == (1, 0, 3, 0.877)
    assert [message.role for message in rows[0].transcript] == ["assistant"]


UNSTATED = {
    "analysis_test_logs_2025-05-12T20-28-13-04-00_no-samples.json": "the log has no samples",
    "log_test_eval_log_log_tool_call_error.json": "no score",
    "scorer_logs_2025-02-11T15-17-00-05-00_popularity_dPiJifoWeEQBrfWsAopzWr.eval": "no score",
}
"""Logs whose samples carry no scores: one without samples, two from before scoring."""


def test_inspects_means_are_reproduced(tmp_path):
    logs = sorted(p for p in shared("inspect_logs").iterdir() if p.suffix in (".json", ".eval"))
    assert len(logs) == 19
    for log in logs:
        if log.name == next(iter(UNSTATED)):
            with pytest.raises(InputError, match=UNSTATED[log.name]):
                imported(tmp_path, log)
            continue
        summary, rows = imported(tmp_path, log)
        if log.name in UNSTATED:
            assert {row.status for row in rows} == {"infra_error"}
            assert UNSTATED[log.name] in {row.error for row in rows}
            continue
        (stated,) = summary.reported
        assert (log.name, stated.agrees, stated.n) == (log.name, "errors left out", len(rows))


def test_tau2s_infrastructure_errors_are_not_measured(tmp_path):
    """Its own table says 0.80 on average and 0.50 in pass^1 of the same runs."""
    summary, rows = imported(tmp_path, shared("eval_samples/tau2_results_with_infra_errors.json"))
    retail = summary.benchmarks["tau2_retail"]
    assert (retail.n, retail.n_unscored, retail.mean, retail.mean_errors_as_zero) == (16, 6, 0.8, 0.5)
    assert summary.reported == []
    failed = next(row for row in rows if row.status == "infra_error")
    assert (failed.task_id, failed.trial, failed.score, failed.n_turns) == ("2", 0, None, 0)
    assert failed.error.startswith("infrastructure_error: the JSON object must be str")
    with pytest.raises(RunError) as error:
        imported(tmp_path, shared("eval_samples/tau2_results_with_infra_errors.json"), max_error_rate=0.05)
    assert error.value.message.startswith("6 of 16 rows were not measured or could not be read, the first: tau2_retail")
    assert len(read(tmp_path / "eval.parquet", EvalResult)) == 16


TAU2 = {  # counted by hand from termination_reason and reward
    "gpt-4.1_airline": ("tau2_airline", 10 / 20, {"ok": 20}),
    "gpt-4.1_retail": ("tau2_retail", 34 / 40, {"ok": 40}),
    "gpt-4.1_telecom": ("tau2_telecom", 18 / 40, {"ok": 40}),
    "ft-gpt-4.1_airline": ("tau2_airline", 13 / 20, {"ok": 20}),
    "ft-gpt-4.1_retail": ("tau2_retail", 34 / 40, {"ok": 40}),
    "ft-gpt-4.1_telecom": ("tau2_telecom", 30 / 40, {"max_turns": 5, "model_error": 1, "ok": 34}),
    "ft-gpt-4.1_telecom_no-user": ("tau2_telecom", 34 / 40, {"ok": 40}),
}


@pytest.mark.parametrize("name", TAU2)
def test_tau2s_recorded_rewards_are_the_scores(tmp_path, name):
    summary, rows = imported(tmp_path, shared(f"tau2_bench/results/{name}.json"))
    benchmark, mean, status = TAU2[name]
    found = summary.benchmarks[benchmark]
    assert (found.mean, found.status) == (pytest.approx(mean), status)
    assert all(row.transcript and row.n_turns and row.seconds for row in rows)
    assert sum(row.n_tool_calls for row in rows) > len(rows)


def test_tau_benchs_trials(tmp_path):
    summary, rows = imported(tmp_path, shared("tau_bench/gpt-4o-airline.json"))
    found = summary.benchmarks["tau_bench"]
    assert (found.n, found.mean, summary.model) == (200, 0.42, "gpt-4o-airline")
    assert {row.trial for row in rows} == {0, 1, 2, 3}
    assert len({row.cluster for row in rows}) == 50
    assert (sum(row.n_turns for row in rows), sum(row.n_tool_calls for row in rows)) == (2454, 1164)


def test_bfcls_accuracy_is_reproduced_and_failed_requests_are_not_answers(tmp_path):
    folder = shared("eval_samples/bfcl")
    summary, rows = imported(tmp_path, folder, model="Qwen_Qwen3-0.6B-FC")
    (stated,) = summary.reported
    assert (stated.benchmark, stated.mean, stated.n) == ("bfcl_simple_python", pytest.approx(1 / 3), 3)
    assert stated.agrees == "errors left out"
    by_task = {row.task_id: (row.score, row.status, row.error, row.n_turns) for row in rows}
    assert by_task == {
        "multi_turn_base_0": (None, "infra_error", "there is no score file: run bfcl evaluate", 21),
        "simple_python_0": (1.0, "ok", None, 1),
        "simple_python_1": (0.0, "ok", "simple_function_checker:wrong_func_name", 1),
        "simple_python_2": (0.0, "ok", "simple_function_checker:wrong_func_name", 1),
    }
    # every request of this model failed, and BFCL states 100 % for irrelevance: not reproduced, on purpose
    summary, rows = imported(tmp_path, folder, model="gpt-4o-mini-2024-07-18-FC")
    assert {(row.score, row.status) for row in rows} == {(None, "infra_error")}
    stated = {one.benchmark: (one.mean, one.n, one.agrees) for one in summary.reported}
    assert stated == {"bfcl_irrelevance": (1.0, 240, None), "bfcl_simple_python": (0.0, 400, "errors as 0")}
    with pytest.raises(ConfigError, match="results of several models"):
        imported(tmp_path, folder)


# ---- small ones, by the harnesses' own definitions ------------------------------------------------------------------


def test_a_report_of_swe_bench(tmp_path):
    report = {
        "total_instances": 6,
        "submitted_instances": 5,
        "completed_instances": 3,
        "resolved_instances": 2,
        "unresolved_instances": 1,
        "empty_patch_instances": 1,
        "error_instances": 1,
        "completed_ids": ["a", "b", "c"],
        "incomplete_ids": ["f"],
        "empty_patch_ids": ["d"],
        "submitted_ids": ["a", "b", "c", "d", "e"],
        "resolved_ids": ["a", "b"],
        "unresolved_ids": ["c"],
        "error_ids": ["e"],
        "schema_version": 2,
    }
    summary, rows = imported(tmp_path, put(tmp_path / "runs/org__model.run-1.json", report))
    assert [(row.task_id, row.score, row.status, row.error) for row in rows] == [
        ("a", 1.0, "ok", None),
        ("b", 1.0, "ok", None),
        ("e", None, "infra_error", "its evaluation failed"),
        ("f", None, "infra_error", "nothing was submitted"),
        ("d", 0.0, "empty", None),
        ("c", 0.0, "ok", None),
    ]
    assert (summary.model, summary.benchmarks["swe_bench"].mean) == ("org__model", 0.5)
    (stated,) = summary.reported
    assert (stated.mean, stated.n, stated.agrees) == (pytest.approx(2 / 6), 6, "errors as 0")


def trial(task: str, suffix: str, reward: float | None, raised: str | None = None) -> dict[str, Any]:
    return {
        "id": suffix,
        "task_name": task,
        "trial_name": f"{task}__{suffix}",
        "source": "terminal-bench",
        "agent_info": {"name": "terminus-2", "version": "2", "model_info": {"name": "m", "provider": "openai"}},
        "agent_result": {"n_input_tokens": 100, "n_output_tokens": 20},
        "verifier_result": None if reward is None else {"rewards": {"reward": reward}},
        "exception_info": raised and {"exception_type": raised, "exception_message": "", "exception_traceback": ""},
        "agent_execution": {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:30Z"},
    }


def test_a_job_of_harbor(tmp_path):
    job = tmp_path / "jobs/one"
    stats = {"evals": {"terminus-2__m__terminal-bench": {"n_trials": 4, "metrics": [{"mean": 0.5}]}}}
    put(job / "result.json", {"id": "1", "n_total_trials": 4, "stats": stats})
    trials = [("fix", "Zz", 1.0, None), ("fix", "Aa", 0.0, None), ("build", "Bb", 1.0, "AgentTimeoutError")]
    for task, suffix, reward, raised in [*trials, ("run", "Cc", None, "EnvironmentStartTimeoutError")]:
        put(job / f"{task}__{suffix}/result.json", trial(task, suffix, reward, raised))
    put(job / "config.json", {"n_attempts": 2})
    summary, rows = imported(tmp_path, job)
    assert sorted((row.task_id, row.trial, row.score, row.status, row.error) for row in rows[:3]) == [
        ("build", 0, 1.0, "model_error", "AgentTimeoutError"),
        ("fix", 0, 0.0, "ok", None),
        ("fix", 1, 1.0, "ok", None),
    ]
    assert (rows[3].score, rows[3].status, rows[3].error) == (None, "infra_error", "EnvironmentStartTimeoutError")
    assert {(row.benchmark, row.model, row.n_tokens, row.seconds) for row in rows} == {("terminal-bench", "m", 20, 90)}
    (stated,) = summary.reported
    assert (stated.mean, stated.n, stated.agrees) == (0.5, None, "errors as 0")
    assert summary.skipped == ["config.json"]


def test_a_run_of_terminal_bench(tmp_path):
    modes = [(True, "unset"), (False, "agent_timeout"), (False, "context_length_exceeded"), (False, "test_timeout")]
    results = [
        {"task_id": f"t{i % 3}", "trial_name": f"t{i}", "is_resolved": done, "failure_mode": mode}
        for i, (done, mode) in enumerate(modes)
    ]
    put(tmp_path / "run/run_metadata.json", {"model_name": "m", "dataset_name": "terminal-bench-core"})
    put(tmp_path / "run/results.json", {"id": "1", "results": results, "n_resolved": 1, "accuracy": 0.25})
    put(tmp_path / "run/t0/t0.1-of-1/results.json", results[0])
    summary, rows = imported(tmp_path, tmp_path / "run")
    assert [(row.task_id, row.trial, row.score, row.status) for row in rows] == [
        ("t0", 0, 1.0, "ok"),
        ("t1", 0, 0.0, "model_error"),
        ("t2", 0, 0.0, "too_long"),
        ("t0", 1, None, "infra_error"),
    ]
    assert (summary.model, summary.reported[0].agrees) == ("m", "errors as 0")
    assert summary.skipped == ["run_metadata.json"]


def test_an_evaluation_of_nemo_skills(tmp_path):
    for k, verdicts in enumerate([(True, False), (True, True)]):
        lines = [{"generation": "so 5", "num_generated_tokens": 7, "symbolic_correct": v} for v in verdicts]
        put(tmp_path / f"out/aime25/output-rs{k}.jsonl", *lines)
    put(tmp_path / "out/livecodebench/output.jsonl", *({"generation": "", "graded_list": [v]} for v in (True, False)))
    verdicts = ("Judgement: Yes", "**Judgement**: no", "It is right, yes.")
    judged = [{"generation": "x", "judgement": f"Reasoning: yes.\n{verdict}"} for verdict in verdicts]
    put(tmp_path / "out/hle/output.jsonl", *judged)
    instructions = [{"strict_eval": {"follow_all_instructions": v}, "loose_eval": {}} for v in (True, False, True)]
    put(tmp_path / "out/ifbench/output.jsonl", *({"generation": "x"} | one for one in instructions))
    steps = [[{"process_status": s} for s in run] for run in (("completed", "completed"), ("completed", "error"))]
    put(tmp_path / "out/scicode/output.jsonl", *({"generation": "x", "eval_status": one} for one in steps))
    metrics = {
        "ifbench": {"pass@1": {"num_prompts": 3, "average_score": 70.0, "prompt_strict_accuracy": 66.6666}},
        "scicode": {"pass@1": {"num_problems": 2, "problem_accuracy": 50.0, "subtask_accuracy": 75.0}},
        "aime25": {
            "pass@1": {"num_entries": 2, "symbolic_correct": 50.0},
            "pass@1[avg-of-2]": {"num_entries": 2, "symbolic_correct": 75.0},
            "pass@2": {"num_entries": 2, "symbolic_correct": 100.0},
        },
        "livecodebench": {"pass@1": {"num_entries": 2, "accuracy": 50.0}},
        "hle": {"pass@1": {"num_entries": 3, "judge_correct": 33.33}},
    }
    put(tmp_path / "out/metrics.json", metrics)
    summary, rows = imported(tmp_path, tmp_path / "out")
    assert {name: one.mean for name, one in summary.benchmarks.items()} == {
        "aime25": 0.75,
        "hle": 0.5,
        "ifbench": pytest.approx(2 / 3),
        "livecodebench": 0.5,
        "scicode": 0.5,
    }
    assert {one.benchmark: one.agrees for one in summary.reported} == {
        "ifbench": "errors left out",
        "scicode": "errors left out",
        "aime25": "errors left out",
        "livecodebench": "errors left out",
        "hle": "errors as 0",
    }
    assert [(row.task_id, row.trial, row.n_tokens) for row in rows[:4]] == [
        ("0", 0, 7), ("1", 0, 7), ("0", 1, 7), ("1", 1, 7),
    ]  # fmt: skip


def sample(doc: int, **changes: Any) -> dict[str, Any]:
    fields = {"doc_id": doc, "resps": [["4"]], "filter": "strict", "metrics": ["exact_match", "f1"], "f1": 0.5}
    return fields | {"exact_match": float(doc == 0)} | changes


def test_lm_evals_filters_and_metrics_are_chosen_by_name(tmp_path):
    lines = [sample(i, filter=name, exact_match=float(name == "loose")) for name in ("strict", "loose") for i in (0, 1)]
    path = put(tmp_path / "m/samples_gsm8k_cot_2026-11-21T02-42-18.199237.jsonl", *lines)
    results = {
        "gsm8k_cot": {"alias": "x", "exact_match,strict": 0.0, "exact_match_stderr,strict": 0.1, "f1,strict": 0.5}
    }
    stated = {"results": results, "configs": {}, "n-samples": {"gsm8k_cot": {"effective": 2}}, "model_name": "org/m"}
    beside = put(tmp_path / "m/results_2026-11-21T02-42-18.199237.json", stated)

    def means(**options: Any) -> tuple[float, list[str]]:
        summary, _ = imported(tmp_path, path, beside, **options)
        return summary.benchmarks["gsm8k_cot"].mean, [one.metric for one in summary.reported]

    assert means() == (0.0, ["exact_match,strict"])
    assert means(metric="f1") == (0.5, ["f1,strict"])
    assert means(metric="exact_match,loose") == (1.0, [])
    summary, rows = imported(tmp_path, path, beside)
    assert (summary.model, len(rows)) == ("org/m", 2)


def log(**changes: Any) -> dict[str, Any]:
    evaluation = {"task": "org/browse_comp", "model": "m", "dataset": {"sample_ids": ["a", "b", "c", "d"]}}
    fields = {
        "version": 2,
        "status": "error",
        "eval": evaluation | {"config": {"epochs": 1}},
        "plan": {},
        "results": {"completed_samples": 2, "scores": [{"name": "s", "metrics": {"mean": {"value": 0.75}}}]},
        "samples": [
            {"id": "a", "epoch": 1, "messages": talk(), "scores": {"s": {"value": "C"}, "t": {"value": {"x": 0.25}}}},
            {"id": "b", "epoch": 1, "messages": talk(), "scores": {"s": {"value": 0.5}}, "limit": {"type": "token"}},
            {"id": "c", "epoch": 1, "messages": talk(), "scores": None, "error": {"message": "no disk"}},
        ],
    }
    return fields | changes


def talk() -> list[dict[str, Any]]:
    call = {"id": "1", "function": "search", "arguments": {"q": "x"}, "type": "function"}
    return [
        {"role": "user", "content": "Find x."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "y", "tool_call_id": "1", "function": "search"},
        {"role": "assistant", "content": "y"},
    ]


def test_inspects_failed_limited_and_missing_samples(tmp_path):
    path = put(tmp_path / "log.json", log())
    summary, rows = imported(tmp_path, path)
    assert [(row.task_id, row.score, row.status, row.error) for row in rows] == [
        ("a", 1.0, "ok", None),
        ("b", 0.5, "truncated", "token limit"),
        ("c", None, "infra_error", "no disk"),
        ("d", None, "infra_error", "the log has no such sample (its status is error)"),
    ]
    assert (rows[0].benchmark, rows[0].n_turns, rows[0].n_tool_calls) == ("browse_comp", 2, 1)
    assert [message.role for message in rows[0].transcript] == ["assistant", "tool", "assistant"]
    assert summary.reported[0].agrees == "errors left out"
    _, rows = imported(tmp_path, path, metric="t.x", benchmark="renamed")
    assert [(row.benchmark, row.score, row.error) for row in rows[:2]] == [
        ("renamed", 0.25, None),
        ("renamed", None, "no score"),
    ]


# ---- the command ----------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_counted_with_its_place(tmp_path):
    path = put(tmp_path / "samples_t_2026-11-21T02-42-18.1.jsonl", sample(0), sample(1, exact_match=7), sample(2))
    path.write_text(path.read_text() + "{broken\n")
    summary, rows = imported(tmp_path, path)
    assert [row.task_id for row in rows] == ["0", "2"]
    assert summary.n_rejected == 2
    assert summary.rejected == [
        f"{path.name} record 2: exact_match: expected a score from 0 to 1, got a number",
        f"{path.name} record 4: Expecting property name enclosed in double quotes at column 2",
    ]
    with pytest.raises(RunError, match="2 of 4 rows were not measured or could not be read, the first: samples_t"):
        imported(tmp_path, path, max_error_rate=0.4)


def test_results_that_cannot_be_imported_say_so(tmp_path):
    one = put(tmp_path / "a/samples_t_2026-11-21T02-42-18.1.jsonl", sample(0))
    again = put(tmp_path / "b/a/samples_t_2026-11-22T02-42-18.1.jsonl", sample(0))
    with pytest.raises(InputError, match="t 0 trial 0 is in samples_t_2026-11-21"):
        imported(tmp_path, one, again)
    other = put(tmp_path / "a/samples_u_2026-11-21T02-42-18.1.jsonl", sample(0))
    with pytest.raises(ConfigError, match="there are several: t, u"):
        imported(tmp_path, one, other, benchmark="x")
    with pytest.raises(InputError, match=r"unknown results \(JSON lines with a\)"):
        imported(tmp_path, put(tmp_path / "c.json", {"a": 1}))
    with pytest.raises(InputError, match=r"no result of a single task in results\.json"):
        put(tmp_path / "d/results.json", {"results": {}, "configs": {}, "n-samples": {}})
        imported(tmp_path, tmp_path / "d")
    with pytest.raises(InputError, match=r"no result of a single task in e\.json, the first: .*expected an object"):
        imported(tmp_path, put(tmp_path / "e.json", [1]), format="swe_bench")
    with pytest.raises(ConfigError, match="unknown format 'lmeval'"):
        imported(tmp_path, one, format="lmeval")


def test_an_up_to_date_import_does_nothing(tmp_path):
    path = put(tmp_path / "samples_t_2026-11-21T02-42-18.1.jsonl", sample(0))
    config = ImportConfig(sources=[str(path)], output=str(tmp_path / "eval.parquet"))
    summary = stage.run(config)
    before = (tmp_path / "eval.parquet").read_bytes()
    assert stage.run(config) == summary.model_copy(update={"cached": True})
    stage.run(config.model_copy(update={"force": True}))
    assert (tmp_path / "eval.parquet").read_bytes() == before
    with pytest.raises(OutputError, match=r"config\.metric"):
        stage.run(config.model_copy(update={"metric": "f1"}))


def test_scores_that_come_later_are_another_input(tmp_path):
    answers = put(tmp_path / "b/result/m/g/BFCL_v4_simple_result.json", {"id": "a", "result": "x"})
    config = ImportConfig(sources=[str(answers)], output=str(tmp_path / "eval.parquet"), max_error_rate=1.0)
    assert stage.run(config).benchmarks["bfcl_simple"].n_unscored == 1
    put(tmp_path / "b/score/m/g/BFCL_v4_simple_score.json", {"accuracy": 1.0, "correct_count": 1, "total_count": 1})
    with pytest.raises(OutputError, match="inputs"):
        stage.run(config)
    assert stage.run(config.model_copy(update={"force": True})).benchmarks["bfcl_simple"].mean == 1.0


@pytest.mark.parametrize("format", ["auto", "bfcl"])
def test_what_else_lies_in_the_folder_is_listed_not_read(format, tmp_path):
    put(tmp_path / "b/result/m/g/BFCL_v4_simple_result.json", {"id": "a", "result": "x"})
    put(tmp_path / "b/score/m/g/BFCL_v4_simple_score.json", {"accuracy": 1.0, "correct_count": 1, "total_count": 1})
    (tmp_path / "b/score/data_live.csv").write_text("Rank,Model\n1,m\n")
    summary = imported(tmp_path, tmp_path / "b", format=format)[0]
    assert (summary.benchmarks["bfcl_simple"].mean, summary.n_rejected) == (1.0, 0)
    assert summary.skipped == ["score/data_live.csv"]


@needs_recorded
def rollout(task: int, trial: int, **changes: Any) -> dict[str, Any]:
    """A row of `gym eval run`; `reward=None` leaves the reward out."""
    said = [{"type": "output_text", "text": "42", "annotations": []}]
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": said}
    row = {
        **{"_ng_task_index": task, "_ng_rollout_index": trial, "agent_ref": {"name": "aime25_agent"}},
        "responses_create_params": {"input": [{"role": "user", "content": "6 * 7?"}]},
        "response": {"model": "m", "output": [message], "usage": {"output_tokens": 5}},
        "reward": 1.0,
    } | changes
    return {key: value for key, value in row.items() if value is not None}


def test_nemo_gyms_rollouts_failures_and_means(tmp_path):
    cut = rollout(0, 0)["response"] | {"incomplete_details": {"reason": "max_output_tokens"}}
    given = [rollout(0, 0, reward=0.0, response=cut), rollout(0, 1), rollout(1, 0), rollout(2, 0, mask_sample=True)]
    put(tmp_path / "gym" / "aime25.jsonl", *given)
    lost = {"_ng_failure_class": "agent_request_failed", "_ng_failure_message": "timed out", "reward": 0.0}
    failed = [rollout(1, 0, **lost, response=None), *2 * [rollout(1, 1, **lost, response=None)]]
    put(tmp_path / "gym" / "aime25_failures.jsonl", *failed)
    put(tmp_path / "gym" / "aime25_materialized_inputs.jsonl", rollout(0, 0, response=None, reward=None))
    means = [{"agent_ref": {"name": "aime25_agent"}, "agent_metrics": {"mean/reward": 2 / 3}, "key_metrics": {}}]
    put(tmp_path / "gym" / "aime25_aggregate_metrics.json", means)
    summary, rows = imported(tmp_path, tmp_path / "gym")
    assert [(row.task_id, row.trial, row.score, row.status, row.error) for row in rows] == [
        ("0", 0, 0.0, "truncated", None),
        ("0", 1, 1.0, "ok", None),
        ("1", 0, 1.0, "ok", None),
        ("2", 0, None, "infra_error", "masked"),
        ("1", 1, None, "infra_error", "agent_request_failed: timed out"),
    ]
    assert {(row.benchmark, row.model) for row in rows} == {("aime25", "m")}
    assert (rows[0].n_turns, rows[0].n_tokens, rows[0].transcript) == (1, 5, [Message(role="assistant", content="42")])
    (stated,) = summary.reported
    assert (stated.metric, stated.agrees, summary.skipped) == (
        *("mean/reward", "errors left out"),
        ["aime25_materialized_inputs.jsonl"],
    )


def test_nemo_gyms_failures_alone_and_rewards_out_of_range(tmp_path):
    lost = {"_ng_failure_class": "cancelled", "response": None}
    _, rows = imported(tmp_path, put(tmp_path / "a" / "b_failures.jsonl", rollout(0, 0, **lost)))
    assert [(row.benchmark, row.error) for row in rows] == [("b", "cancelled")]
    summary, _ = imported(tmp_path, put(tmp_path / "c" / "d.jsonl", rollout(0, 0), rollout(1, 0, reward=2.0)))
    assert summary.rejected == ["d.jsonl record 2: reward: expected a score from 0 to 1, got a number"]


def test_no_two_importers_recognise_the_same_file():
    """Over all shared files: each at most one, and every one of the samples of outputs."""
    recognised: dict[str, list[str]] = {}
    for folder in ("eval_samples", "inspect_logs", "tau2_bench", "tau_bench", "nemo_gym_rollouts", "swe_agent", "bfcl"):
        for path in sorted(p for p in (DATA / folder).rglob("*") if p.suffix in (".json", ".jsonl", ".eval", ".traj")):
            (file,) = Source(path, path.name, named=True).documents()
            assert isinstance(file, File)
            found = [name for name in IMPORTERS if load_importer(name).sniff(file)]
            recognised.setdefault(folder, []).extend(found or ["none"])
            assert len(found) <= 1, (path, found)
    assert set(recognised["eval_samples"]) == {"lm_eval", "inspect", "bfcl", "tau2_bench"}
    assert set(recognised["inspect_logs"]) == {"inspect"}
    assert set(recognised["tau2_bench"]) == {"tau2_bench", "none"}  # schemas and SFT files
    assert set(recognised["nemo_gym_rollouts"]) == {"nemo_gym"}
    for folder in ("swe_agent", "bfcl"):
        assert set(recognised[folder]) == {"none"}


def test_every_format_is_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs/evaluation.md").read_text().partition("## Importing")[2]
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == list(IMPORTERS)
