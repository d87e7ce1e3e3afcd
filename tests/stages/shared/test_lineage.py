from __future__ import annotations

import polars as pl
import pytest
from filtering import profiled
from tables import candidate, read

from pivotrl_cli.configs import FilterConfig, ProfileConfig, ScoreConfig, TrainConfig
from pivotrl_cli.errors import InputError
from pivotrl_cli.model.folder import fingerprint
from pivotrl_cli.rows import Candidate, Profile, StepMetrics
from pivotrl_cli.stages.filter import run as filter_stage
from pivotrl_cli.stages.score import run as score
from pivotrl_cli.stages.shared.model_check import profiled_models
from pivotrl_cli.stages.train import run as train
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.table import Table
from pivotrl_cli.storage.table_writer import TableWriter

ROWS = [profiled(f"t{i}-0", "1100", verifier="exact") for i in range(4)]


def profile_of(path, fingerprints, rows=ROWS):
    """A profile whose provenance names these fingerprints."""
    provenance = Provenance.of("profile", Profile, ProfileConfig(candidates="c.parquet"), [], fingerprints)
    with TableWriter(path, Profile, provenance) as out:
        for row in rows:
            out.write(row)
    return path


def pivots_of(profile, path):
    filter_stage.run(FilterConfig(profile=str(profile), output=str(path)))
    return path


def training(pivots, model, output, **options) -> TrainConfig:
    small = {"steps": 1, "prompts_per_step": 1, "group_size": 2, "max_new_tokens": 2, "device": "cpu"}
    return TrainConfig(pivots=str(pivots), model=str(model), output=str(output), **small | options)


@pytest.fixture
def foreign(tmp_path):
    """Pivots that another model's profile found."""
    return pivots_of(profile_of(tmp_path / "p.parquet", {"model": "f" * 64}), tmp_path / "pivots.parquet")


def test_training_refuses_pivots_of_another_models_profile(foreign, tmp_path, talker):
    with pytest.raises(InputError) as error:
        train.run(training(foreign, talker, tmp_path / "out"))
    assert error.value.message == (
        f"{foreign}: profiled with model ffffffffffff, but {talker} is {fingerprint(talker)[:12]}; "
        "what is hard for one model is not for another"
    )
    assert error.value.hint == f"profile again with --model {talker}, or add --allow-foreign-profile"
    assert not (tmp_path / "out").exists()


def test_training_takes_them_when_told_to_and_sft_needs_no_pass_rates(foreign, tmp_path, talker):
    allowed = training(
        foreign, talker, tmp_path / "out", allow_foreign_profile=True, truncated="zero", verifier="exact"
    )
    assert train.run(allowed).steps == 1
    sft = training(foreign, talker, tmp_path / "sft", method="sft")
    assert train.run(sft).steps == 1


def test_pivots_of_the_models_own_profile_are_taken_without_a_word(tmp_path, talker, capsys):
    profile = profile_of(tmp_path / "p.parquet", {"model": fingerprint(talker)})
    filter_stage.run(FilterConfig(profile=str(profile), output=str(tmp_path / "v.parquet"), model=str(talker)))
    train.run(training(tmp_path / "v.parquet", talker, tmp_path / "out", truncated="zero"))
    assert "no record" not in capsys.readouterr().err
    assert len(read(tmp_path / "out" / "metrics.parquet", StepMetrics)) == 1


def test_a_table_without_provenance_is_taken_with_a_line(foreign, tmp_path, talker, capsys):
    plain = tmp_path / "plain.parquet"
    pl.read_parquet(foreign).write_parquet(plain)
    train.run(training(plain, talker, tmp_path / "out", truncated="zero"))
    assert f"{plain}: no record of the model that profiled it; it may not be {talker}\n" in capsys.readouterr().err


def test_candidates_without_pass_rates_are_nobodys_profile(tmp_path, talker, capsys):
    with TableWriter(
        tmp_path / "c.parquet", Candidate, Provenance.of("extract", Candidate, ProfileConfig(candidates="c"), [])
    ) as out:
        out.write(candidate("a-0", verifier="exact"))
    train.run(training(tmp_path / "c.parquet", talker, tmp_path / "out", truncated="zero"))
    assert "no record" not in capsys.readouterr().err


def test_filter_checks_the_model_it_is_given_before_anything_is_paid_for(tmp_path, talker):
    profile = profile_of(tmp_path / "p.parquet", {"model": "f" * 64})
    with pytest.raises(InputError) as error:
        filter_stage.run(FilterConfig(profile=str(profile), output=str(tmp_path / "v.parquet"), model=str(talker)))
    assert error.value.message.startswith(f"{profile}: profiled with model ffffffffffff, but {talker} is ")
    assert error.value.hint == (
        f"profile again with --model {talker}, or leave --model out to select for the other model"
    )
    assert not (tmp_path / "v.parquet").exists()


def test_the_model_is_found_through_scoring_filtering_and_filtering_again(tmp_path):
    profile = profile_of(tmp_path / "p.parquet", {"model": "f" * 64})
    score.run(ScoreConfig(rollouts=str(profile), verifier=["exact"], output=str(tmp_path / "s.parquet")))
    rows = read(tmp_path / "s.parquet", Profile)
    assert len(rows) == len(ROWS)
    pivots_of(pivots_of(profile, tmp_path / "v.parquet"), tmp_path / "again.parquet")
    for name in ("p", "s", "v", "again"):
        with Table.open(tmp_path / f"{name}.parquet", Candidate) as table:
            assert list(profiled_models(table.provenance)) == ["f" * 64]


def test_what_no_model_is_recorded_for():
    replayed = {"command": "profile", "fingerprints": {"engine": "replay", "replay": "e" * 64}, "inputs": []}
    broken = {"command": "filter", "fingerprints": {}, "inputs": [{"name": "p.parquet", "sha256": "0"}]}
    shards = {"command": "merge", "fingerprints": {}, "inputs": [{"provenance": p} for p in (replayed, broken)]}
    assert [list(profiled_models(p)) for p in (None, replayed, broken, shards)] == [[None], [None], [None], [None] * 2]
