"""The report: its numbers, that nothing a model wrote becomes markup, and how it behaves in a browser."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from browser import CHROMIUM, Browser
from tables import RIGHT, WRONG, calls, candidate, read, script, user, write

from pivotrl_cli import report
from pivotrl_cli.configs import FilterConfig, ProfileConfig, ReportConfig, TrainConfig
from pivotrl_cli.errors import ConfigError, InputError, MissingExtra, OutputError
from pivotrl_cli.report.collect import collect
from pivotrl_cli.report.sections import sections, variances
from pivotrl_cli.report.strips import _ranges
from pivotrl_cli.rows import EvalResult, Profile, StepMetrics
from pivotrl_cli.stages.filter import run as filter_stage
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.train.run_folder import RunFolder
from pivotrl_cli.storage.provenance import Provenance

EVIL = "</script><img src=x onerror=\"document.title='owned'\">{{ 7*7 }}'\"&amp;"


def rewarded(*rewards: int) -> list[str]:
    return [RIGHT if reward else WRONG for reward in rewards]


def step(number: int) -> StepMetrics:
    known = dict.fromkeys(StepMetrics.model_fields, 0) | {"skipped": None}
    return StepMetrics.model_validate(known | {"step": number, "rollout_turns": 8 * number, "reward_mean": 0.5})


def scored(benchmark: str, task: str, score: float | None) -> EvalResult:
    known = dict.fromkeys(EvalResult.model_fields)
    texts = {"category": EVIL, "model": EVIL, "error": EVIL, "metrics": "{}"}
    texts["status"] = "ok" if score is not None else "infra_error"
    same = {"benchmark": benchmark, "task_id": task, "cluster": task, "trial": 0, "score": score, "transcript": []}
    return EvalResult.model_validate(known | texts | same)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run: a profile with pivots, training under way, two evaluations; `EVIL` wherever a text can be."""
    place = tmp_path_factory.mktemp("reports") / "run"
    place.mkdir()
    same = {"task_id": EVIL, "domain": EVIL, "n_turns": 3, "trajectory_id": "a"}
    told = [user(EVIL)]
    states = [told]
    for _ in range(2):
        told = [*told, calls("look", '{"order": 7}'), user(EVIL)]
        states.append(told)
    rows = [candidate(f"a-{turn}", turn=turn, state=state, **same) for turn, state in enumerate(states)]
    rows += [candidate("b-0", expected_action=calls(EVIL, "{}"))]
    completions = {
        "a-0": rewarded(1, 1, 1, 1),
        "a-1": rewarded(1, 0, 0, 0),
        "a-2": [*rewarded(1, 1), EVIL, WRONG],
        "b-0": [EVIL, EVIL, "", RIGHT],
    }
    candidates = write(place / "candidates.parquet", rows)
    replay = script(place / "replay.jsonl", completions)
    made = str(place / "profile.parquet")
    profile.run(ProfileConfig(candidates=str(candidates), engine="replay", replay=replay, n=4, output=made))
    output, dropped = str(place / "pivots.parquet"), place / "dropped.parquet"
    filter_stage.run(FilterConfig(profile=made, output=output, dropped=dropped, max_mean=0.6))
    provenance = Provenance.of("train", StepMetrics, TrainConfig(pivots=output, output="tuned"), [])
    run = RunFolder(place / "tuned", provenance, force=False, keep=1)
    for number in (1, 2, 3):
        run.write_step(step(number), [])
    write(place / "base.parquet", [scored(EVIL, f"t{i}", i % 2) for i in range(8)], EvalResult)
    write(place / "after.parquet", [scored(EVIL, f"t{i}", 1.0 if i else None) for i in range(8)], EvalResult)
    pl.DataFrame({"a": [1]}).write_parquet(place / "theirs.parquet")
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    """Its report."""
    output = folder.parent / "report.html"
    summary = report.run(ReportConfig(folder=str(folder), output=str(output)))
    assert summary.left_out == {"theirs.parquet": "a Parquet file, but not one that pivotrl wrote"}
    return output


def test_the_numbers_are_those_of_the_tables(folder):
    found = sections(collect(folder), ReportConfig(folder=str(folder)))
    assert [(t["name"], t["table"], t["rows"], t["note"]) for t in found["tables"]] == [
        ("after", "eval", 8, None),
        ("base", "eval", 8, None),
        ("candidates", "candidates", 4, None),
        ("dropped", "dropped", 2, None),
        ("pivots", "pivots", 2, None),
        ("profile", "profile", 4, None),
        ("tuned/metrics", "metrics", 3, "the run is unfinished: 3 steps so far"),
    ]
    assert [(one["step"], one["left"]) for one in found["selections"][0]["steps"]] == [
        ("candidates", 4),
        ("train split", 4),
        ("scored", 4),
        ("mixed", 2),
        ("in window", 2),
    ]
    by_tool = found["profiles"][0]["breaks"][0]["rows"]
    assert {row["name"]: (row["all wrong"], row["mixed"], row["kept"]) for row in by_tool} == {
        "look": (0, 2, 2),
        EVIL: (1, 0, 0),
    }
    turns = [[0, 1.0, 0, "look"], [1, 0.25, 1, "look"], [2, 0.5, 1, "look"]]
    assert found["profiles"][0]["strip"]["rows"] == [
        {"id": "a", "task": EVIL, "domain": EVIL, "turns": turns},
        {"id": "b", "task": "", "domain": "", "turns": [[0, 0.0, 0, EVIL]]},
    ]
    header, rows = found["evaluation"]["parts"][0]["header"], found["evaluation"]["parts"][0]["rows"]
    assert header == ["benchmark", "n", "base", "after", "after - base", "won/lost"]
    assert [row[:2] for row in rows] == [[EVIL, "7"], [f"{EVIL}, errors as 0", "8"]]


def test_what_a_click_shows_has_each_message_once(folder):
    found = sections(collect(folder), ReportConfig(folder=str(folder)))
    detail = json.loads(zlib.decompress(base64.b64decode(found["profiles"][0]["strip"]["packed"][0])))
    assert [message["role"] for message in detail["messages"]] == ["user", "assistant"]
    first, second, third = detail["turns"]
    assert (first["state"], second["state"]) == ([[0, 1]], [[0, 2], [0, 1]])
    assert third["action"] == 1
    assert third["fate"] == "kept by pivots, rank 1: reward varies, mean below 0.6"
    assert first["fate"] == "dropped: all right"
    assert {v["verdict"]: [(t["n"], t["text"]) for t in v["texts"]] for v in third["verdicts"]}[
        "expected_tool_call (equal, reward 1)"
    ] == [(2, RIGHT)]


def test_ranges_and_variances():
    assert list(_ranges([0, 1, 2, 5, 6])) == [[0, 3], [5, 7]]
    assert list(_ranges([])) == []
    counts = variances(pl.Series([None, 0.0, 0.0, 0.5, 0.1]))  # 0.1 squared is 0.01, 0.5 squared the highest there is
    assert {name: n for name, n in counts.items() if n} == {"0": 2, "0.000-0.025": 1, "0.225-0.250": 1}


def test_nothing_a_model_wrote_is_markup_and_nothing_is_fetched(page):
    text = page.read_text()
    assert "<img" not in text
    assert text.count("</script>") == text.count("<script") == 3
    assert "{{ 7*7 }}" in text
    links = re.findall(r'(?:src|href|action|data|srcset)="([^"]*)"', text)
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    assert not re.search(r"@import|url\(", text)


def test_the_same_tables_give_the_same_bytes(folder, page, tmp_path):
    report.run(ReportConfig(folder=str(folder), output=str(tmp_path / "again.html")))
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_a_folder_without_tables_and_a_file_in_the_way_are_said(tmp_path, folder):
    with pytest.raises(InputError, match="no table of pivotrl in it"):
        report.run(ReportConfig(folder=str(tmp_path), output=str(tmp_path / "r.html")))
    with pytest.raises(InputError, match="no such folder"):
        report.run(ReportConfig(folder=str(tmp_path / "none")))
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.html exists and is not a report"):
        report.run(ReportConfig(folder=str(folder), output=str(tmp_path / "notes.html")))
    with pytest.raises(ConfigError, match="--baseline none: no such evaluation"):
        report.run(ReportConfig(folder=str(folder), output=str(tmp_path / "r.html"), baseline="none"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.html"]


def test_without_the_extra_it_is_named(monkeypatch, folder):
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as found:
        report.run(ReportConfig(folder=str(folder)))
    assert found.value.hint == "pip install 'pivotrl[report]'"


def test_a_limit_on_trajectories_is_said(folder):
    limited = ReportConfig(folder=str(folder), trajectories=1)
    found = sections(collect(folder), limited)
    assert (len(found["profiles"][0]["strip"]["rows"]), found["profiles"][0]["strip"]["n"]) == (1, 2)
    assert "1 of 2 trajectories, spread evenly" in report.render(found)


def test_a_profile_without_rewards_or_rows_is_said(folder, tmp_path):
    first = read(folder / "profile.parquet", Profile)[0]
    unknown = {"reward_mean": None, "reward_std": None, "n_scored": 0, "rollouts": [], "status": "not_scored"}
    for name, rows in (("nothing", []), ("unscored", [first.model_copy(update=unknown)])):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "profile.parquet", rows, Profile)
        made = ReportConfig(folder=str(tmp_path / name), output=str(tmp_path / f"{name}.html"))
        report.run(made)
    assert "No candidate in it." in (tmp_path / "nothing.html").read_text()
    assert "No reward is known of any candidate." in (tmp_path / "unscored.html").read_text()


# ---- in a browser -----------------------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def quiet(browser: Browser) -> Iterator[Browser]:
    """A browser that must have had nothing to complain of, and asked for nothing but the page."""
    browser.complaints.clear()
    browser.requests.clear()
    yield browser
    assert browser.complaints == []
    assert all(url.startswith("file:") and url.endswith(".html") for url in browser.requests)


def settled(browser: Browser, condition: str) -> None:
    """Wait until it is true, five seconds at most."""
    waiting = "(async () => { for (let i = 0; i < 250; i++) { if (%s) return true;"
    waiting += " await new Promise((r) => setTimeout(r, 20)); } return false; })()"
    assert browser.run(waiting % condition), condition


SHOWN = "document.querySelector('.detail').textContent"


@needs_chromium
@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_a_click_shows_the_turn(quiet, page, width, dark):
    quiet.open(page, width, dark=dark)
    assert quiet.run("document.documentElement.scrollWidth") == width
    assert quiet.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
    )
    assert quiet.run("document.querySelectorAll('.drawing svg').length") == 12
    assert quiet.run("[...document.querySelectorAll('.cell.kept')].map((c) => c.ariaLabel)") == [
        "turn 1, look, pass rate 0.25, pivot",
        "turn 2, look, pass rate 0.50, pivot",
    ]
    quiet.click("#strip0-0-2")
    settled(quiet, f"{SHOWN}.startsWith('Turn 2 of 3: look')")
    assert EVIL in quiet.run(SHOWN)
    assert quiet.run("document.title") == "run · pivotrl"
    assert quiet.run("document.querySelectorAll('img').length") == 0
    assert quiet.run("document.documentElement.scrollWidth") == width


@needs_chromium
def test_the_keyboard_does_what_the_mouse_does(quiet, page):
    quiet.open(page, 1600)
    quiet.run("document.querySelector('.grid').focus()")
    quiet.press("n")
    settled(quiet, f"{SHOWN}.startsWith('Turn 1 of 3')")
    quiet.press("ArrowRight", "ArrowDown")
    settled(quiet, f"{SHOWN}.startsWith('Turn 0 of 1')")
    assert quiet.run("document.querySelector('.grid').getAttribute('aria-activedescendant')") == "strip0-1-0"
    quiet.press("p")
    settled(quiet, f"{SHOWN}.startsWith('Turn 2 of 3')")
    quiet.press("Enter")
    assert quiet.run("document.activeElement.className") == "detail"
    quiet.press("Escape")
    assert quiet.run("document.activeElement.className") == "grid"


@needs_chromium
def test_a_mark_of_a_chart_says_what_it_is_under_the_pointer(quiet, page):
    quiet.open(page, 1600)
    bars = "#funnel [aria-roledescription=bar]"
    assert quiet.run(f"[...document.querySelectorAll('{bars}')].map((bar) => bar.ariaLabel)") == [
        "candidates: 4",
        "train split: 4",
        "scored: 4",
        "mixed: 2",
        "in window: 2",
    ]
    quiet.point(bars)
    settled(quiet, "!document.getElementById('tip').hidden")
    assert quiet.run("document.getElementById('tip').textContent") == "candidates: 4"


@needs_chromium
def test_a_search_narrows_the_trajectories(quiet, page):
    quiet.open(page, 1600)

    def narrowed(words: str) -> str:
        return quiet.run(
            f"{{ const s = document.querySelector('input'); s.value = {json.dumps(words)};"
            " s.dispatchEvent(new Event('input')); document.querySelector('.controls output').textContent }"
        )

    assert narrowed("onerror") == "2 shown, 2 pivots"
    assert narrowed("nothing like it") == "0 shown, 0 pivots"


@needs_chromium
@pytest.mark.slow
def test_of_5000_pivots_only_those_in_view_are_drawn(quiet, tmp_path, monkeypatch):
    from perf import filter as filter_benchmark

    made, output = str(tmp_path / "profile.parquet"), str(tmp_path / "pivots.parquet")
    monkeypatch.setattr(filter_benchmark, "_TEMPLATE_TRAJECTORIES", 256)  # the others repeat them
    filter_benchmark.write_profile(Path(made), 7_200, 8)
    selected = filter_stage.run(FilterConfig(profile=made, output=output, max_mean=1.0, split="all", keep_all_zero=1.0))
    assert selected.kept > 5000
    report.run(ReportConfig(folder=str(tmp_path), output=str(tmp_path / "r.html")))
    quiet.open(tmp_path / "r.html", 1600)
    assert quiet.run("document.querySelector('.controls output').textContent") == (
        f"1,800 shown, {selected.kept:,} pivots"
    )
    assert quiet.run("document.querySelectorAll('.cell').length") < 400
    most = quiet.run(
        """(async () => {
          const grid = document.querySelector('.grid'), drawn = [];
          for (let i = 0; i < 40; i++) {
            grid.scrollTop = (i * 7919 * 22) % grid.scrollHeight;
            await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
            drawn.push(document.querySelectorAll('.cell').length);
          }
          return Math.max(...drawn);
        })()"""
    )
    assert 0 < most < 400  # only what is in view is drawn, wherever one scrolls
