"""Shards of a profile, each sampled by itself, and put together again."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import CUT, FAILED, RIGHT, TALK, WRONG, candidate, read, says, script, user, write

from pivotrl_cli.configs import MergeConfig, ProfileConfig
from pivotrl_cli.errors import ConfigError, InputError, OutputError
from pivotrl_cli.rows import Candidate, Profile
from pivotrl_cli.stages.profile import merge
from pivotrl_cli.stages.profile import run as profile
from pivotrl_cli.stages.profile.windows import parse_shard, shards_of, windows_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """50 candidates of trajectories that share their messages, and a script with all that can happen."""
    rng = random.Random(3)
    rows = []
    for name in "abcdefghijklm":
        history = [user(f"{name}: {'hello ' * rng.randrange(1, 40)}")]
        for turn in range(rng.randrange(1, 9)):
            rows.append(candidate(f"{name}-{turn}", turn=turn, state=list(history)))
            history += [says(f"turn {turn} of {name}"), user(f"go on {turn}")]
    write(tmp_path / "c.parquet", rows[:50])
    texts = [RIGHT, WRONG, TALK, CUT, "", FAILED]
    script(tmp_path / "r.jsonl", {row.candidate_id: rng.choices(texts, [9, 9, 5, 1, 1, 1], k=3) for row in rows})
    return tmp_path


def shard(folder: Path, which: str | None, output: str, **options):
    chosen = {"engine": "replay", "replay": folder / "r.jsonl", "n": 3, "window": 10} | options
    config = ProfileConfig(
        candidates=str(folder / "c.parquet"), output=str(folder / output), shard=which, max_error_rate=1.0, **chosen
    )
    return profile.run(config)


def merged(folder: Path, *shards: str, output: str = "p.parquet", **options):
    return merge.run(MergeConfig(shards=[str(folder / s) for s in shards], output=str(folder / output), **options))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_merged_shards_are_the_bytes_of_the_whole_run(folder, count):
    whole = shard(folder, None, "whole.parquet", limit=44)
    names = [f"s{i}.parquet" for i in range(count)]
    for i, name in enumerate(names):
        shard(folder, f"{i}/{count}", name, limit=44)
    of_the_table = whole.model_copy(update={"retries": 0})
    assert merged(folder, *reversed(names)) == of_the_table
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()
    assert merged(folder, *names) == of_the_table.model_copy(update={"cached": True})
    assert shard(folder, None, "p.parquet", limit=44).cached


def test_merged_shards_of_a_model_are_the_bytes_of_the_whole_run(folder, tiny_model):
    options = {"engine": "hf", "model": str(tiny_model), "device": "cpu", "max_new_tokens": 6, "limit": 30, "n": 2}
    shard(folder, None, "whole.parquet", sample_token_budget=900, **options)
    for i in range(2):
        shard(folder, f"{i}/2", f"s{i}.parquet", sample_token_budget=900, **options)
    merged(folder, "s0.parquet", "s1.parquet")
    assert (folder / "p.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_trajectories_stay_whole_and_shards_are_about_as_large(folder):
    for i in range(3):
        shard(folder, f"{i}/3", f"s{i}.parquet", window=6)
    parts = [read(folder / f"s{i}.parquet", Profile) for i in range(3)]
    assert [row.candidate_id for part in parts for row in part] == [
        row.candidate_id for row in read(folder / "c.parquet", Candidate)
    ]
    assert len({(i, row.trajectory_id) for i, part in enumerate(parts) for row in part}) == len(
        {row.trajectory_id for part in parts for row in part}
    )
    assert max(map(len, parts)) - min(map(len, parts)) <= 8


def test_missing_double_and_strange_shards_are_named(folder):
    for i in (0, 2):
        shard(folder, f"{i}/3", f"s{i}.parquet")
    shard(folder, "1/3", "other.parquet", temperature=0.5)
    shard(folder, "1/2", "half.parquet")
    shard(folder, None, "whole.parquet")
    s0, s2 = folder / "s0.parquet", folder / "s2.parquet"
    for names, message in [
        (["s0.parquet", "s2.parquet"], "shards are missing: 1/3"),
        (["s2.parquet"], "shards are missing: 0/3, 1/3"),
        (["s0.parquet", "s2.parquet", "s0.parquet"], f"shard 0/3 is there twice: {s0} and {s0}"),
        (
            ["s0.parquet", "other.parquet", "s2.parquet"],
            f"{folder / 'other.parquet'} was made differently from {s0}: config.temperature: 1.0 -> 0.5",
        ),
        (
            ["s2.parquet", "half.parquet"],
            f'{folder / "half.parquet"} was made differently from {s2}: config.shard: "3" -> "2"',
        ),
        (["whole.parquet"], f"{folder / 'whole.parquet'}: not a shard"),
    ]:
        with pytest.raises(InputError) as error:
            merged(folder, *names)
        assert error.value.message == message
    assert not (folder / "p.parquet").exists()
    with pytest.raises(OutputError, match=r'config\.shard: "0/3" -> "2/3"'):
        shard(folder, "2/3", "s0.parquet")


def test_a_candidate_in_two_shards_is_named(folder):
    for i in range(2):
        shard(folder, f"{i}/2", f"s{i}.parquet")
    s0, s1 = (pq.read_table(folder / f"s{i}.parquet") for i in range(2))
    pq.write_table(pa.concat_tables([s1, s0.slice(2, 1)]).cast(s1.schema), folder / "s1.parquet")
    with pytest.raises(InputError, match=r"(?m)s1\.parquet: candidate a-2 is in another shard too$"):
        merged(folder, "s0.parquet", "s1.parquet")
    assert not (folder / "p.parquet").exists()


@pytest.mark.parametrize("text", ["1", "3/3", "-1/3", "a/b", "0/0", "1/", ""])
def test_a_shard_that_is_none_says_so(text):
    with pytest.raises(ConfigError, match=f"--shard {text}: not I/N with I below N"):
        parse_shard(text)


def test_more_shards_than_windows_are_refused_before_any_work(folder):
    with pytest.raises(ConfigError, match=r"--shard 0/9: \d+ candidates make only \d windows"):
        shard(folder, "0/9", "s.parquet")
    assert not list(folder.glob("s.parquet*"))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 40))
def test_windows_are_whole_trajectories_in_order_and_no_larger_than_they_must(lengths, size):
    names = [str(i) for i, n in enumerate(lengths) for _ in range(n)]
    windows = windows_of(names, size)
    assert np.concatenate(windows).tolist() == list(range(len(names)))
    inside = [{names[i] for i in window} for window in windows]
    assert sum(map(len, inside)) == len(lengths)
    assert all(len(window) <= size or len(held) == 1 for window, held in zip(windows, inside, strict=True))
    assert all(len(a) + lengths[int(names[b[0]])] > size for a, b in pairwise(windows))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.data())
def test_every_shard_has_a_run_of_windows_and_about_its_share(sizes, data):
    count = data.draw(st.integers(1, len(sizes)))
    shards = shards_of([np.zeros(n) for n in sizes], count)
    assert shards == sorted(shards)
    assert set(shards) == set(range(count))


@given(st.integers(1, 8), st.integers(0, 200))
def test_equal_windows_are_shared_out_evenly(count, more):
    shards = shards_of([np.zeros(5)] * (count + more), count)
    held = [shards.count(i) for i in range(count)]
    assert max(held) - min(held) <= 1
