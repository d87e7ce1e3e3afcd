"""Prescreen: what is left out, audited and estimated, and the entropies behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pivotrl_cli.configs import DeskConfig, ExtractConfig, FilterConfig, MergeConfig, ProfileConfig
from pivotrl_cli.engines import hf
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.rows import Candidate
from pivotrl_cli.stages import desk
from pivotrl_cli.stages.extract import run as extract
from pivotrl_cli.stages.filter import run as filter
from pivotrl_cli.stages.profile import merge, prescreen
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.profile.samples import Samples
from pivotrl_cli.stages.profile.summary import PrescreenCounts
from pivotrl_cli.storage.table import Table


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("desk")
    desk.run(DeskConfig(n=6, output=str(folder / "t.jsonl")))
    extract.run(ExtractConfig(sources=[str(folder / "t.jsonl")], output=str(folder / "candidates.parquet")))
    return str(folder / "candidates.parquet")


def config(candidates: str, output: Path | str, **options) -> ProfileConfig:
    return ProfileConfig(
        **{"candidates": candidates, "output": str(output), "n": 2, "max_new_tokens": 32, "device": "cpu"} | options
    )


def measured(entropies: list[float | None]) -> dict[str, Samples]:
    return {f"c{i}": Samples(rollouts=[], entropy=entropy) for i, entropy in enumerate(entropies)}


def marks(decided: dict[str, Samples]) -> dict[str, tuple[str, bool]]:
    return {key: (one.status, one.audited) for key, one in decided.items()}


def test_the_share_with_the_least_entropy_is_left_out():
    results = measured([3.0, 0.5, None, 0.5, 2.0])
    plain = config("", "", prescreen=0.5, prescreen_audit=0.0)
    out, kept = ("screened_out", False), ("ok", False)
    assert marks(prescreen.decide(results, plain)) == {"c0": kept, "c1": out, "c2": kept, "c3": out, "c4": kept}
    audited = config("", "", prescreen=0.5, prescreen_audit=1.0)
    assert marks(prescreen.decide(results, audited)) == marks(results) | {"c1": ("ok", True), "c3": ("ok", True)}


def test_the_audit_is_a_random_share_whatever_the_entropies():
    results = measured([float(i) for i in range(4000)])
    decided = prescreen.decide(results, config("", "", prescreen=0.5, prescreen_audit=0.1))
    audited = [i for i, one in enumerate(decided.values()) if one.audited]
    assert len(audited) == pytest.approx(200, abs=45)  # three standard errors
    assert max(audited) < 2000
    assert np.mean(audited) == pytest.approx(1000, abs=125)


def test_recall_by_hand():
    counts = PrescreenCounts.of(screened_out=90, audited=10, audited_pivots=1, pivots=31)
    assert counts.recall == pytest.approx(31 / (31 + 9))
    assert (counts.recall_low, counts.recall_high) == pytest.approx(
        (31 / (31 + 90 * 0.38131), 31 / (31 + 90 * 0.01101)), abs=1e-3
    )
    assert PrescreenCounts.of(screened_out=9, audited=0, audited_pivots=0, pivots=5).recall is None


def test_the_interval_of_the_recall_covers():
    """1,000 prescreens of 2,000 candidates left out, of which some 5 % are audited and 1 to 6 % are pivots."""
    rng = np.random.default_rng(0)
    covered = []
    for rate in (0.01, 0.03, 0.06):
        for _ in range(1000):
            pivots = rng.random(2000) < rate
            audited = rng.random(2000) < 0.05
            found = 500 + int((pivots & audited).sum())
            counts = PrescreenCounts.of(int((~audited).sum()), int(audited.sum()), int((pivots & audited).sum()), found)
            true = found / (500 + pivots.sum())
            covered.append(counts.recall_low <= true <= counts.recall_high)
    assert np.mean(covered) > 0.93


def test_entropies_are_those_of_a_plain_pass(candidates):
    engine = hf.open_engine(config(candidates, ""))
    with Table.open(candidates, Candidate) as table:
        rows = list(table.rows())[:12]
    found = prescreen.measure(engine, config(candidates, "", sample_token_budget=2000), rows)
    for row in rows:
        prompt = engine.chat.prompt_ids(row.state, row.tools)
        action = engine.chat.completion_ids(row.state, row.tools, row.expected_action)
        with torch.no_grad():
            logits = engine.model(torch.tensor([[*prompt, *action]])).logits[0, len(prompt) - 1 : -1].double()
        plain = torch.distributions.Categorical(logits=logits).entropy().sum().item()
        one = found[row.candidate_id]
        assert (one.prompt_tokens, one.entropy) == (len(prompt), pytest.approx(plain, abs=1e-3))


def test_a_profile_with_a_prescreen(candidates, tmp_path):
    """Rollouts are those of a run without it, the filter says what was left out, and shards merge to the same bytes."""
    options = {"prescreen": 0.4, "prescreen_audit": 0.2, "window": 16}
    summary = profile.run(config(candidates, tmp_path / "p.parquet", **options))
    profile.run(config(candidates, tmp_path / "all.parquet"))
    table, whole = (pl.read_parquet(tmp_path / name) for name in ("p.parquet", "all.parquet"))
    sampled = table["status"] == "ok"
    drawn_of = pl.col("rollouts").list.eval(
        pl.struct(pl.element().struct.field("seed"), pl.element().struct.field("text"))
    )
    drawn, expected = (one.filter(sampled).select(drawn_of) for one in (table, whole))
    assert drawn.equals(expected)
    assert summary.prescreen.screened_out == (table["status"] == "screened_out").sum() > 0
    assert summary.prescreen.audited == table["audited"].sum() > 0
    kept = filter.run(FilterConfig(profile=str(tmp_path / "p.parquet"), output=str(tmp_path / "pivots.parquet")))
    assert {s.step: s.dropped for s in kept.funnel}["scored"] == {"screened_out": summary.prescreen.screened_out}
    for i in range(2):
        profile.run(config(candidates, tmp_path / f"{i}.parquet", shard=f"{i}/2", **options))
    merge.run(
        MergeConfig(shards=[str(tmp_path / f"{i}.parquet") for i in range(2)], output=str(tmp_path / "m.parquet"))
    )
    assert (tmp_path / "m.parquet").read_bytes() == (tmp_path / "p.parquet").read_bytes()


def test_an_engine_without_probabilities_is_refused(candidates, tmp_path):
    replay = tmp_path / "replay.jsonl"
    replay.write_text("")
    options = {"engine": "replay", "replay": str(replay), "prescreen": 0.4}
    with pytest.raises(ConfigError, match="--prescreen needs the policy's probabilities, and engine replay has none"):
        profile.run(config(candidates, tmp_path / "p.parquet", **options))
