from __future__ import annotations

import json

import pytest
from tables import candidate, write

from pivotrl_cli.configs import CompareConfig
from pivotrl_cli.errors import ConfigError, InputError
from pivotrl_cli.rows import EvalResult
from pivotrl_cli.stages import compare as stage


def result(benchmark: str, task: str, score: float | None, trial: int = 0, **changes) -> EvalResult:
    fields = {
        "benchmark": benchmark,
        "task_id": task,
        "cluster": task,
        "category": "",
        "trial": trial,
        "seed": 0,
        "score": score,
        "status": "error" if score is None else "ok",
        "error": "down" if score is None else None,
        "n_turns": 1,
        "n_tokens": 1,
        "transcript": [],
    }
    return EvalResult(**fields | changes)


def table(path, scores: dict[str, list[float | None]]):
    """An eval table: benchmark to the scores of its tasks, in order."""
    rows = [result(name, f"{name}-{i}", score) for name, values in scores.items() for i, score in enumerate(values)]
    return str(write(path, rows, EvalResult))


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Ten desk tasks, of which one is not measured by `sft`; two skills, of which `pivotrl` lacks one."""
    return [
        table(tmp_path / "base.parquet", {"desk": [1, 0, 0, 0, 0, 0, 0, 0, 0, 1], "skills": [1, 1]}),
        table(tmp_path / "sft.parquet", {"desk": [1, 0, 0, 0, 0, 0, 0, 0, 0, None], "skills": [1, 1]}),
        table(tmp_path / "pivotrl.parquet", {"desk": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "skills": [1]}),
    ]


def printed(files, capsys, **options) -> str:
    stage.run(CompareConfig(results=files, **options))
    return capsys.readouterr().out


def test_a_comparison_is_over_what_all_tables_measured(files, capsys):
    found = json.loads(printed(files, capsys, format="json"))
    desk, skills = found["benchmarks"]
    assert (desk["benchmark"], desk["domain"], desk["n"], desk["clusters"]) == ("desk", "in", 9, 9)
    assert {name: one["mean"] for name, one in desk["models"].items()} == {
        "base": pytest.approx(1 / 9),
        "sft": pytest.approx(1 / 9),
        "pivotrl": pytest.approx(7 / 9),
    }
    gain = desk["differences"]["pivotrl"]
    assert (gain["mean"], gain["wins"], gain["losses"], gain["significant"]) == (pytest.approx(6 / 9), 6, 0, True)
    assert 0.2 < gain["low"] < 0.5 < 0.8 < gain["high"] <= 1.0
    assert desk["differences"]["sft"] == {
        "mean": 0.0,
        "low": 0.0,
        "high": 0.0,
        "wins": 0,
        "losses": 0,
        "significant": False,
    }
    assert (skills["domain"], skills["n"]) == ("out", 1)
    assert found["models"] == ["base", "sft", "pivotrl"]
    assert found["left_out"] == {"base": 2, "sft": 2, "pivotrl": 1}
    assert found["unscored"] == {"base": 0, "sft": 1, "pivotrl": 0}


def test_markdown_by_eye(tmp_path, capsys):
    files = [
        table(tmp_path / "base.parquet", {"desk": [0, 0, 0, 0], "skills": [1, 1, 0.5, 0.5]}),
        table(tmp_path / "pivotrl.parquet", {"desk": [1, 1, 1, 1], "skills": [1, 1, 0.5, 0.5], "pivots": [1]}),
    ]
    assert printed(files, capsys, format="markdown") == (
        "| benchmark | n | base | pivotrl | pivotrl - base |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| desk | 4 | 0.0 [0.0, 44.5] | 100.0 [55.5, 100.0] | +100.0 [+55.5, +100.0] * |\n"
        "| skills (out of domain) | 4 | 75.0 [50.0, 100.0] | 75.0 [50.0, 100.0] | +0.0 [+0.0, +0.0] |\n"
        "\n"
        "scores in percent with 95 % intervals; * marks a paired difference whose interval leaves out zero\n"
        "pivotrl: 1 rows left out, 0 of them not measured\n"
    )


def test_the_table_for_a_terminal_has_the_same_cells(files, capsys):
    text = printed(files, capsys, names="a,b[red],c")
    for part in ("desk", "skills", "b[red]", "77.8", "* marks a paired difference", "c: 1 rows left out"):
        assert part in text


def test_one_table_alone_is_shown_without_differences(files, capsys):
    text = printed(files[:1], capsys, format="markdown")
    assert text.splitlines()[:2] == ["| benchmark | n | base |", "| --- | --- | --- |"]


def test_trials_of_a_task_are_one_cluster(tmp_path, capsys):
    rows = [result("desk", f"t{i % 4}", float(i % 4 == 0), trial=i // 4) for i in range(40)]
    path = str(write(tmp_path / "base.parquet", rows, EvalResult))
    (desk,) = json.loads(printed([path], capsys, format="json"))["benchmarks"]
    assert (desk["n"], desk["clusters"]) == (40, 4)
    assert desk["models"]["base"] == {"mean": 0.25, "low": 0.0, "high": 0.75}


def test_a_model_may_have_the_name_of_a_column(files, capsys):
    found = json.loads(printed(files, capsys, format="json", names="benchmark,score,cluster"))
    assert found["models"] == ["benchmark", "score", "cluster"]
    assert found["benchmarks"][0]["models"]["score"]["mean"] == pytest.approx(1 / 9)


def test_tables_that_cannot_be_compared_say_so(files, tmp_path):
    other = table(tmp_path / "other.parquet", {"pivots": [1]})
    with pytest.raises(InputError, match="no measured item in common"):
        stage.run(CompareConfig(results=[files[0], other]))
    with pytest.raises(ConfigError) as error:
        stage.run(CompareConfig(results=[files[0], files[0]]))
    assert error.value.hint == "give one distinct name per table: --names base,pivotrl"
    with pytest.raises(ConfigError):
        stage.run(CompareConfig(results=files, names="a,b"))
    candidates = str(write(tmp_path / "c.parquet", [candidate("a-0")]))
    with pytest.raises(InputError, match="expected table: eval, this one: candidates"):
        stage.run(CompareConfig(results=[candidates]))
