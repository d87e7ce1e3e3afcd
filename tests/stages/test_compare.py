from __future__ import annotations

import json

import pytest
from tables import candidate, write

from pivotrl_cli.benchmarks import DO_NOTHING, Setting, open_benchmark
from pivotrl_cli.configs import CompareConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.rows import EvalResult, Message
from pivotrl_cli.stages.compare import run as stage
from pivotrl_cli.stats import rate_interval


def result(benchmark: str, task: str, score: float | None, trial: int = 0, **changes) -> EvalResult:
    fields = {
        "benchmark": benchmark,
        "task_id": task,
        "cluster": task,
        "category": "",
        "model": "m",
        "trial": trial,
        "seed": 0,
        "score": score,
        "status": "infra_error" if score is None else "ok",
        "error": "down" if score is None else None,
        "n_turns": 1,
        "n_tool_calls": 0,
        "n_tokens": 1,
        "seconds": None,
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
    assert desk["models"]["pivotrl"] == {
        "mean": pytest.approx(7 / 9),
        "low": pytest.approx(rate_interval(7 / 9, 9)[0]),
        "high": pytest.approx(rate_interval(7 / 9, 9)[1]),
    }
    gain, none = desk["differences"]["pivotrl"], desk["differences"]["sft"]
    assert (gain["mean"], gain["wins"], gain["losses"]) == (pytest.approx(6 / 9), 6, 0)
    assert (gain["p"], gain["significant"]) == (pytest.approx(2 / 2**6), True)
    assert (none["mean"], none["wins"], none["losses"], none["p"]) == (0.0, 0, 0, 1.0)
    assert none["high"] == -none["low"] == pytest.approx(1.959964 * 2**0.5 / 11)
    assert (skills["domain"], skills["n"]) == ("out", 1)
    assert found["models"] == ["base", "sft", "pivotrl"]


def test_what_was_not_measured_is_shown_both_ways(files, capsys):
    desk, skills = json.loads(printed(files, capsys, format="json"))["benchmarks"]
    assert desk["unscored"] == {"base": 0, "sft": 1, "pivotrl": 0}
    zero = desk["errors_as_zero"]
    assert (zero["n"], {m: one["mean"] for m, one in zero["models"].items()}) == (
        10,
        {"base": 0.2, "sft": 0.1, "pivotrl": 0.7},
    )
    assert zero["differences"]["sft"]["losses"] == 1
    assert skills["errors_as_zero"] is None
    text = printed(files, capsys, format="markdown")
    assert "| desk | 9 |" in text
    assert "| desk, errors as 0 | 10 |" in text
    assert "sft: 1 items of desk not measured" in text.splitlines()


def test_what_a_table_lacks_is_counted_and_named(tmp_path, capsys):
    many = table(tmp_path / "many.parquet", {"desk": [1] * 8, "skills": [1]})
    few = table(tmp_path / "few.parquet", {"desk": [1] * 3, "pivots": [0]})
    found = json.loads(printed([many, few], capsys, format="json"))
    assert found["missing"] == {
        "many": {"pivots": ["pivots pivots-0"]},
        "few": {"desk": [f"desk desk-{i}" for i in range(3, 8)], "skills": ["skills skills-0"]},
    }
    assert [one["benchmark"] for one in found["benchmarks"]] == ["desk"]
    lines = printed([many, few], capsys).splitlines()
    assert lines[-3:] == [
        "many: lacks pivots pivots-0",
        "few: lacks desk desk-3, desk desk-4, desk desk-5 and 2 more",
        "few: lacks skills skills-0",
    ]


def test_a_benchmark_that_one_model_never_measured_has_no_mean(tmp_path, capsys):
    files = [
        table(tmp_path / "base.parquet", {"desk": [1, 1], "skills": [1, 0]}),
        table(tmp_path / "new.parquet", {"desk": [None, None], "skills": [1, 1]}),
    ]
    desk, _ = json.loads(printed(files, capsys, format="json"))["benchmarks"]
    assert (desk["n"], desk["models"], desk["differences"]) == (0, {}, {})
    assert desk["errors_as_zero"]["differences"]["new"]["mean"] == -1.0
    assert "| desk | 0 | 0.0 | - | - | - | - |" in printed(files, capsys, format="markdown")


def test_markdown_by_eye(tmp_path, capsys):
    files = [
        table(tmp_path / "base.parquet", {"door": [0, 0, 0, 0], "skills": [1, 1, 0, 0]}),
        table(tmp_path / "pivotrl.parquet", {"door": [1, 1, 1, 1], "skills": [1, 1, 0, 0], "pivots": [1]}),
    ]
    assert printed(files, capsys, format="markdown", flips=1) == (
        "| benchmark | n | do nothing | base | pivotrl | pivotrl - base | won/lost |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| door | 4 |  | 0.0 [0.0, 44.5] | 100.0 [55.5, 100.0] | +100.0 [+7.0, +100.0] | 4/0 |\n"
        "| skills (out of domain) | 4 | 0.0 | 50.0 [12.3, 87.7] | 50.0 [12.3, 87.7] | +0.0 [-46.2, +46.2] | 0/0 |\n"
        "\n"
        "scores in percent with 95 % intervals; * marks a paired difference with p < 0.05\n"
        "do nothing: what an agent that refuses at once scores on the whole benchmark\n"
        "base: lacks pivots pivots-0\n"
        "\n"
        "- pivotrl: door door-0: 0 -> 1\n"
    )


def test_a_name_cannot_break_the_markdown(tmp_path, capsys):
    path = table(tmp_path / "a.parquet", {"door": [1]})
    assert printed([path], capsys, format="markdown", names="a|b").startswith("| benchmark | n | a\\|b |\n")


def test_the_table_is_not_folded_where_there_is_no_terminal(files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    header, desk, *_ = printed(files, capsys, names="the base policy,b[red],c").splitlines()
    title = (
        "benchmark n do nothing the base policy b[red] b[red] - the base policy won/lost c c - the base policy won/lost"
    )
    assert " ".join(header.split()) == title
    assert "77.8" in desk
    assert len(desk) > 80


def test_domains_are_as_the_options_say(tmp_path, capsys):
    scores = {"tau2_airline": [1, 0], "tau2_retail": [1, 1], "aime": [0, 0], "wmt": [1, 1]}
    better = {"tau2_airline": [1, 1], "tau2_retail": [1, 1], "aime": [1, 0], "wmt": [1, 1]}
    files = [table(tmp_path / "base.parquet", scores), table(tmp_path / "new.parquet", better)]

    def domains(**options) -> list[str | None]:
        return [one["domain"] for one in json.loads(printed(files, capsys, format="json", **options))["benchmarks"]]

    assert domains() == ["in"] * 4
    assert domains(in_domain="tau2_*") == ["in", "in", "out", "out"]
    assert domains(ood="aime,wmt") == ["in", "in", "out", "out"]
    assert domains(in_domain="tau2_*", ood="aime") == ["in", "in", "out", None]
    with pytest.raises(ConfigError) as error:
        domains(ood="aime,wmt24")
    assert (error.value.message, error.value.hint) == (
        "no benchmark is called 'wmt24'",
        "compared here: tau2_airline, tau2_retail, aime, wmt",
    )
    with pytest.raises(ConfigError, match="aime is both in domain and out of it"):
        domains(in_domain="a*", ood="aime")
    found = json.loads(printed(files, capsys, format="json", in_domain="tau2_*"))["domains"]
    assert found["in"]["benchmarks"] == ["tau2_airline", "tau2_retail"]
    assert {m: one["mean"] for m, one in found["in"]["models"].items()} == {"base": 0.75, "new": 1.0}
    assert {m: one["mean"] for m, one in found["out"]["models"].items()} == {"base": 0.5, "new": 0.75}
    gain = found["in"]["differences"]["new"]
    assert (gain["mean"], gain["wins"], gain["losses"], gain["p"]) == (0.25, 1, 0, 1.0)
    text = printed(files, capsys, format="markdown", in_domain="tau2_*")
    assert "| mean in domain | 4 |" in text
    assert "| mean out of domain | 4 |" in text


def test_a_domains_test_joins_its_benchmarks(tmp_path, capsys):
    """Five wins in each of two benchmarks: 2 / 2 ** 5 apart, 2 / 2 ** 10 together."""
    files = [
        table(tmp_path / "base.parquet", {"a": [0] * 5, "b": [0] * 5}),
        table(tmp_path / "new.parquet", {"a": [1] * 5, "b": [1] * 5}),
    ]
    found = json.loads(printed(files, capsys, format="json"))
    assert [one["differences"]["new"]["p"] for one in found["benchmarks"]] == [pytest.approx(2 / 2**5)] * 2
    assert found["domains"]["in"]["differences"]["new"]["p"] == pytest.approx(2 / 2**10)
    assert found["domains"]["out"] is None


def test_flipped_items_are_named_the_losses_first(files, capsys):
    found = json.loads(printed(files, capsys, format="json", flips=2))["flips"]
    assert found == {
        "sft": [],
        "pivotrl": [
            {"benchmark": "desk", "task_id": f"desk-{i}", "trial": 0, "before": 0.0, "after": 1.0} for i in (1, 2)
        ],
    }
    lost = json.loads(printed([files[2], files[0]], capsys, format="json", flips=1))["flips"]["base"]
    assert [(flip["task_id"], flip["before"], flip["after"]) for flip in lost] == [
        ("desk-1", 1.0, 0.0),
        ("desk-9", 0.0, 1.0),
    ]
    assert printed(files, capsys, flips=1).splitlines()[-1] == "pivotrl: desk desk-1: 0 -> 1"


def test_one_table_alone_is_shown_without_differences(files, capsys):
    text = printed(files[:1], capsys, format="markdown").splitlines()
    assert text[:2] == ["| benchmark | n | do nothing | base |", "| --- | --- | --- | --- |"]
    assert text[5] == "scores in percent with 95 % intervals"


def test_trials_of_a_task_are_one_cluster(tmp_path, capsys):
    rows = [result("desk", f"t{i % 4}", float(i % 4 == 0), trial=i // 4) for i in range(40)]
    path = str(write(tmp_path / "base.parquet", rows, EvalResult))
    (desk,) = json.loads(printed([path], capsys, format="json"))["benchmarks"]
    assert (desk["n"], desk["clusters"]) == (40, 4)
    low, high = rate_interval(0.25, 4)
    assert desk["models"]["base"] == {"mean": 0.25, "low": pytest.approx(low), "high": pytest.approx(high)}


def test_a_model_may_have_the_name_of_a_column(files, capsys):
    found = json.loads(printed(files, capsys, format="json", names="benchmark,score,cluster"))
    assert found["models"] == ["benchmark", "score", "cluster"]
    assert found["benchmarks"][0]["models"]["score"]["mean"] == pytest.approx(1 / 9)


GATES = [
    ([0] * 8 + [1] * 12, 0.1, True),  # eight lost of twenty: -0.4, p = 0.008
    ([0] * 8 + [1] * 12, 0.4, False),  # no more than the limit
    ([0] * 5 + [1] * 15, 0.1, False),  # five lost: -0.25, but p = 0.06
    ([0] * 6 + [1] * 14, 0.0, True),  # six lost: p = 0.03
    ([None] * 6 + [1] * 14, 0.0, True),  # not measured: as bad, counted as 0
    ([1] * 18, 0.0, True),  # two items are missing
    ([1] * 20, 0.0, False),
]


@pytest.mark.parametrize(("scores", "limit", "closed"), GATES)
def test_the_gate_for_regressions(tmp_path, capsys, scores, limit, closed):
    files = [table(tmp_path / "base.parquet", {"door": [1] * 20}), table(tmp_path / "new.parquet", {"door": scores})]
    if not closed:
        assert "door" in printed(files, capsys, max_regression=limit)
        return
    with pytest.raises(RunError) as error:
        printed(files, capsys, max_regression=limit)
    assert "worse than base by more than" in error.value.message
    assert "door" in capsys.readouterr().out  # the table is printed all the same


def test_the_gate_says_what_fell(tmp_path, capsys):
    files = [
        table(tmp_path / "base.parquet", {"door": [1] * 10, "hall": [0] * 10}),
        table(tmp_path / "new.parquet", {"door": [0] * 10, "hall": [1] * 9}),
    ]
    with pytest.raises(RunError) as error:
        printed(files, capsys, max_regression=0.02)
    assert error.value.message == (
        "worse than base by more than 2 points, or incomplete: door: new -100.0 [-100.0, -52.1] *, p = 0.002; "
        "hall: new lacks 1 items"
    )


def test_doing_nothing_scores_what_is_said():
    for name in ("desk", "skills"):
        episodes = open_benchmark(name).make(Setting(split="val", limit=20))
        for episode in episodes:
            while not episode.done:
                episode.step(Message(role="assistant", content="I cannot help with that."))
        assert sum(episode.score() for episode in episodes) / len(episodes) == DO_NOTHING[name]


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
    twice = str(write(tmp_path / "twice.parquet", [result("desk", "a", 1.0, trial=2)] * 2, EvalResult))
    with pytest.raises(InputError, match="desk a trial 2 occurs twice"):
        stage.run(CompareConfig(results=[twice]))
