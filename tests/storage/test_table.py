from __future__ import annotations

import io
import subprocess
import sys

import datasets
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search import examples

from pivotrl_cli.configs import ExtractConfig, FilterConfig
from pivotrl_cli.errors import InputError, OutputError
from pivotrl_cli.rows import Candidate, Message, Profile, Reject, RejectReason, ToolCall
from pivotrl_cli.storage.files import partial_path
from pivotrl_cli.storage.provenance import Provenance
from pivotrl_cli.storage.table import Table, current_summary, table_kind
from pivotrl_cli.storage.table_writer import TableWriter


def candidates(trajectory: str, n: int, size: int = 20) -> list[Candidate]:
    """A trajectory of `n` turns whose states share their messages."""
    history: list[Message] = []
    for i in range(n):
        history.append(Message(role="tool" if i else "user", content=f"{trajectory} {i} " + "x" * size))
        call = ToolCall(id=f"c{i}", name="look", arguments=f'{{"i": {i}}}')
        history.append(Message(role="assistant", tool_calls=[call] if i % 3 else [], content="" if i % 3 else "ok"))
    return [
        Candidate(
            candidate_id=f"{trajectory}-{i:03d}",
            trajectory_id=trajectory,
            task_id="",
            source="t.jsonl",
            turn=i,
            n_turns=n,
            domain="",
            verifier="tool_call",
            state=history[: 2 * i + 1],
            tools="[]",
            expected_action=history[2 * i + 1],
            outcome=None,
            split="train",
            provenance="{}",
        )
        for i in range(n)
    ]


def provenance(seed: int = 0) -> Provenance:
    return Provenance.of("extract", Candidate, ExtractConfig(sources=["t.jsonl"], seed=seed), [])


def write(path, rows, seed: int = 0):
    with TableWriter(path, Candidate, provenance(seed)) as out:
        for row in rows:
            out.write(row)
        out.set_summary({"n": len(rows)})


def content_bytes(path) -> int:
    """Bytes of the states' text before compression."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    sizes = {group.column(i).path_in_schema: group.column(i).total_uncompressed_size for i in range(group.num_columns)}
    return sizes["state.list.element.content"]


def test_rows_come_back_as_they_were(tmp_path):
    rows = candidates("a", 7) + candidates("b", 3)
    write(tmp_path / "c.parquet", rows)
    with Table.open(tmp_path / "c.parquet", Candidate) as table:
        assert list(table.rows()) == rows


def test_empty_table_and_all_null_column_keep_their_types(tmp_path):
    write(tmp_path / "empty.parquet", [])
    write(tmp_path / "full.parquet", candidates("a", 2))
    empty, full = (pl.read_parquet(tmp_path / name) for name in ("empty.parquet", "full.parquet"))
    assert len(empty) == 0
    assert empty.schema == full.schema
    assert full.schema["outcome"] == pl.Float64
    assert full["outcome"].null_count() == 2


def test_same_rows_give_the_same_bytes(tmp_path):
    write(tmp_path / "1.parquet", candidates("a", 9))
    write(tmp_path / "2.parquet", candidates("a", 9))
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_other_readers_see_ordinary_columns(tmp_path, monkeypatch):
    path = str(tmp_path / "c.parquet")
    rows = candidates("a", 5)
    write(path, rows)
    expected = [m.model_dump() for m in rows[3].state]
    assert pl.read_parquet(path)["state"][3].to_list() == expected
    assert pq.read_table(path)["state"][3].as_py() == expected
    assert duckdb.sql(f"select state from '{path}' where turn = 3").fetchall()[0][0] == expected
    loaded = datasets.Dataset.from_parquet(path, cache_dir=str(tmp_path / "cache"))
    assert loaded[3]["state"] == expected


@pytest.mark.parametrize("writer", ["polars", "duckdb", "pandas", "datasets"])
def test_a_table_that_another_program_rewrote_is_read_all_the_same(tmp_path, writer):
    path, again = str(tmp_path / "c.parquet"), str(tmp_path / "again.parquet")
    rows = candidates("a", 5) + candidates("b", 2)
    write(path, rows)
    match writer:
        case "polars":
            pl.read_parquet(path).write_parquet(again)
        case "duckdb":
            duckdb.sql(f"copy (select * from '{path}') to '{again}' (format parquet)")
        case "pandas":
            pq.read_table(path).to_pandas().to_parquet(again)
        case "datasets":
            datasets.Dataset.from_parquet(path, cache_dir=str(tmp_path / "cache")).to_parquet(again)
    with (
        Table.open(again, Candidate) as table,
        TableWriter(tmp_path / "third.parquet", Candidate, provenance()) as out,
    ):
        assert list(table.rows()) == rows
        for group in table.tables():
            out.write_table(group)
    with Table.open(tmp_path / "third.parquet", Candidate) as table:
        assert list(table.rows()) == rows


def test_a_profile_that_polars_rewrote_keeps_its_unparsable_rollouts(tmp_path, profile_file):
    again = tmp_path / "again.parquet"
    pl.read_parquet(profile_file).write_parquet(again)
    with Table.open(profile_file, Profile) as table:
        rows = list(table.rows())
    assert [r.action for r in rows[2].rollouts if r.verdict == "unparsable"] == [None, None]
    with Table.open(again, Profile) as table, TableWriter(tmp_path / "third.parquet", Profile, provenance()) as out:
        for group in table.tables():
            out.write_table(group)
    with Table.open(tmp_path / "third.parquet", Profile) as table:
        assert list(table.rows()) == rows


def test_a_long_trajectory_is_stored_once(tmp_path):
    write(tmp_path / "long.parquet", candidates("a", 200, size=300))
    messages = 400 * 300
    states = sum(len(m.content) for c in candidates("a", 200, size=300) for m in c.state)
    assert states > 50 * messages
    assert content_bytes(tmp_path / "long.parquet") < 2 * messages


def test_row_groups_end_between_trajectories(tmp_path, monkeypatch):
    monkeypatch.setattr("pivotrl_cli.storage.table_writer._FLUSH_BYTES", 1000)
    write(tmp_path / "c.parquet", candidates("a", 30) + candidates("b", 30))
    file = pq.ParquetFile(tmp_path / "c.parquet")
    groups = [set(file.read_row_group(i)["trajectory_id"].to_pylist()) for i in range(file.num_row_groups)]
    assert groups == [{"a"}, {"b"}]


def test_selected_rows_leave_the_other_histories_behind(tmp_path):
    rows = candidates("a", 40, size=2000)
    write(tmp_path / "all.parquet", rows)
    with (
        Table.open(tmp_path / "all.parquet", Candidate) as table,
        TableWriter(tmp_path / "few.parquet", Candidate, provenance()) as out,
    ):
        for group in table.tables():
            out.write_table(group.slice(0, 2))
    with Table.open(tmp_path / "few.parquet", Candidate) as few:
        assert list(few.rows()) == rows[:2]
    assert content_bytes(tmp_path / "few.parquet") < content_bytes(tmp_path / "all.parquet") / 10


def test_nothing_stands_under_the_name_after_a_failure(tmp_path):
    path = tmp_path / "c.parquet"
    with pytest.raises(ZeroDivisionError), TableWriter(path, Candidate, provenance()) as out:
        out.write(candidates("a", 1)[0])
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_writer_leaves_no_output_and_a_rerun_completes(tmp_path):
    path = tmp_path / "c.parquet"
    script = (
        "import os, signal, sys; sys.path[:0] = ['tests/storage', 'tests/support']; from test_table import *\n"
        f"with TableWriter({str(path)!r}, Candidate, provenance()) as out:\n"
        "    out.write(candidates('a', 1)[0]); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    assert not path.exists()
    write(path, candidates("a", 2))
    assert [p.name for p in tmp_path.iterdir()] == ["c.parquet"]


def test_up_to_date_output_returns_its_summary(tmp_path):
    path = tmp_path / "c.parquet"
    assert current_summary(path, provenance(), force=False) is None
    write(path, candidates("a", 2))
    assert current_summary(path, provenance(), force=False) == {"n": 2}
    assert current_summary(path, provenance(), force=True) is None


def test_another_config_is_refused_with_the_differing_keys(tmp_path):
    path = tmp_path / "c.parquet"
    write(path, candidates("a", 2), seed=0)
    with pytest.raises(OutputError) as refused:
        current_summary(path, provenance(seed=3), force=False)
    assert refused.value.message == f"{path} exists and was made differently: config.seed: 0 -> 3"
    assert refused.value.hint == "add --force to overwrite it, or choose another -o"


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path):
    path = tmp_path / "c.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(OutputError, match="pivotrl did not write it"):
        current_summary(path, provenance(), force=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no parquet", "not a Parquet file, or cut short"),
        (b"", "not a Parquet file, or cut short"),
    ],
)
def test_what_is_not_parquet_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        Table.open(path, Candidate)
    assert error.value.message == f"{path}: {message}"
    with pytest.raises(InputError):
        table_kind(str(path))


def test_a_truncated_table_is_one_clear_line(tmp_path):
    path = tmp_path / "c.parquet"
    write(path, candidates("a", 9))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a Parquet file, or cut short"):
        Table.open(path, Candidate)


def test_missing_column_and_wrong_type_name_the_column(tmp_path):
    path = tmp_path / "c.parquet"
    write(path, candidates("a", 2))
    frame = pq.read_table(path)
    pq.write_table(frame.drop_columns(["tools"]), path)
    with pytest.raises(InputError) as error:
        Table.open(path, Candidate)
    assert error.value.message == (
        f"{path}: column 'tools' is missing (expected table: candidates, this one: candidates)"
    )
    pq.write_table(frame.set_column(4, "turn", pa.array(["0", "1"])), path)
    with pytest.raises(InputError, match="column 'turn' is string, expected int64"):
        Table.open(path, Candidate)


def test_a_bad_row_is_named(tmp_path):
    path = tmp_path / "c.parquet"
    write(path, candidates("a", 3))
    frame = pq.read_table(path)
    pq.write_table(frame.set_column(12, "split", pa.array(["train", "holdout", "test"])), path)
    with Table.open(path, Candidate) as table, pytest.raises(InputError) as error:
        list(table.rows())
    assert error.value.message.startswith(f"{path} row 2: split: Input should be 'train' or 'holdout'")


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(InputError) as error:
        Table.open(tmp_path / "none.parquet", Candidate)
    assert error.value.message == f"{tmp_path / 'none.parquet'}: no such file"
    assert error.value.hint == "check the path, or run the stage before this one"


def test_identity_leaves_out_where_it_reads_and_writes():
    config = FilterConfig(profile="a.parquet", output="b.parquet", force=True)
    assert config.identity() == {
        "rule": "paper",
        "max_mean": 0.6,
        "min_pass_rate": None,
        "level": None,
        "min_signal": None,
        "keep_all_zero": 0.0,
        "where": None,
        "max_per_trajectory": None,
        "max_per_task": None,
        "max_message_ratio": None,
        "balance": None,
        "limit": None,
        "select": "top",
        "control": None,
        "split": "train",
        "seed": 0,
    }


text = st.text(max_size=8)
messages = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=text,
    reasoning=st.none() | text,
    tool_calls=st.lists(st.builds(ToolCall, id=st.none() | text, name=text, arguments=text), max_size=2),
    tool_call_id=st.none() | text,
    name=st.none() | text,
)


@examples(60)
@given(st.lists(st.lists(messages, max_size=4), max_size=5))
def test_any_history_survives_the_round_trip(histories):
    base = candidates("a", 1)[0]
    rows = [base.model_copy(update={"state": h}) for h in histories]
    buffer = io.BytesIO()
    table = _table_of(rows)
    pq.write_table(table, buffer)
    with Table("memory", buffer, Candidate) as back:
        assert list(back.rows()) == rows


def _table_of(rows):
    from pivotrl_cli.storage.arrow import rows_to_table

    return rows_to_table(Candidate, rows)


def test_rejects_have_their_enum_as_text(tmp_path):
    row = Reject(source="t.jsonl", line=3, reason=RejectReason.BAD_JSON, detail="cut")
    with TableWriter(tmp_path / "r.parquet", Reject, provenance().for_table(Reject)) as out:
        out.write(row)
    assert pl.read_parquet(tmp_path / "r.parquet")["reason"].to_list() == ["bad_json"]
    with Table.open(tmp_path / "r.parquet", Reject) as table:
        assert list(table.rows()) == [row]
    assert table_kind(str(tmp_path / "r.parquet")) is Reject
    assert not partial_path(tmp_path / "r.parquet").exists()
