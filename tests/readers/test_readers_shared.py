"""The shared data: every file is read by its reader or by none, and the counts are those of its README.

The counts are of assistant turns of the recorded agent, before any rule of `extract` drops some. ToolBench deviates in
the number of trajectories: five rows of four searches do not continue the row before, so they are trajectories of their
own, with one or more turns; the turns are as many as on the last paths.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from readings import read_file
from recorded import DATA, WHY

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.readers import detect
from pivotrl_cli.readers.sources import find_sources
from pivotrl_cli.rows import Reject, Trajectory
from pivotrl_cli.stages.extract.extraction import Extraction
from pivotrl_cli.stages.extract.turns import turns_of

if not DATA.is_dir():
    pytest.skip(WHY, allow_module_level=True)

GYM, ROLLOUTS = "nemo_gym", "nemo_gym_rollouts"

COUNTS = {
    "tau_bench/gpt-4o-airline.json": ("tau_bench", 200, 2454, 1164, 1164, 200, 84),
    "tau2_bench/results/ft-gpt-4.1_airline.json": ("tau2_bench", 20, 268, 134, 147, 20, 13),
    "tau2_bench/results/ft-gpt-4.1_retail.json": ("tau2_bench", 40, 571, 255, 292, 40, 34),
    "tau2_bench/results/ft-gpt-4.1_telecom.json": ("tau2_bench", 40, 1053, 656, 656, 40, 30),
    "tau2_bench/results/ft-gpt-4.1_telecom_no-user.json": ("tau2_bench", 40, 629, 589, 589, 40, 34),
    "tau2_bench/results/gpt-4.1_airline.json": ("tau2_bench", 20, 226, 90, 148, 20, 10),
    "tau2_bench/results/gpt-4.1_retail.json": ("tau2_bench", 40, 516, 226, 299, 40, 34),
    "tau2_bench/results/gpt-4.1_telecom.json": ("tau2_bench", 40, 660, 204, 207, 40, 18),
    "tau2_bench/results/sft-v1-small.json": ("tau2_bench", 61, 856, 343, 487, 61, 61),
    "tau2_bench/openai_sft/test_sft-v1-small.jsonl": ("openai", 24, 364, 147, 225, 0, 0),
    "tau2_bench/openai_sft/train_sft-v1-small.jsonl": ("openai", 37, 492, 196, 262, 0, 0),
    f"{GYM}/single_step_tool_use_with_argument_comparison/example_rollouts.jsonl": (GYM, 5, 5, 1, 1, 5, 3),
    f"{GYM}/single_step_tool_use_with_argument_comparison/example.jsonl": (GYM, 5, 5, 3, 3, 0, 0),
    f"{GYM}/single_step_tool_use_with_argument_comparison/parallel_example.jsonl": (GYM, 5, 5, 4, 8, 0, 0),
    f"{GYM}/swe_pivot/example_rollouts.jsonl": (GYM, 5, 5, 0, 0, 5, 0),
    f"{GYM}/swe_pivot/example.jsonl": (GYM, 5, 5, 5, 5, 0, 0),
    f"{GYM}/terminal_multi_harness/example_rollouts.jsonl": (GYM, 5, 5, 4, 5, 5, 4),
    f"{GYM}/terminal_multi_harness/example.jsonl": (GYM, 5, 5, 4, 5, 0, 0),
    f"{GYM}/terminus_judge/example_rollouts.jsonl": (GYM, 5, 5, 0, 0, 5, 0),
    f"{GYM}/terminus_judge/example.jsonl": (GYM, 5, 5, 0, 0, 0, 0),
    f"{GYM}/workplace_assistant/example_rollouts.jsonl": (GYM, 5, 13, 8, 8, 5, 4),
    f"{GYM}/workplace_assistant/example.jsonl": (GYM, 5, 0, 0, 0, 0, 0),
    f"{GYM}/xlam_fc/example_rollouts.jsonl": (GYM, 5, 10, 5, 6, 5, 3),
    f"{GYM}/xlam_fc/example.jsonl": (GYM, 5, 5, 5, 6, 0, 0),
    f"{ROLLOUTS}/anyswe_agent__example_rollouts_claude_code.jsonl": (GYM, 5, 21, 16, 16, 5, 1),
    f"{ROLLOUTS}/anyswe_agent__example_rollouts_openclaw.jsonl": (GYM, 5, 5, 0, 0, 5, 0),
    f"{ROLLOUTS}/anyswe_agent__example_rollouts_opencode.jsonl": (GYM, 5, 31, 26, 27, 5, 4),
    f"{ROLLOUTS}/anyswe_agent__example_rollouts_pi.jsonl": (GYM, 5, 25, 20, 20, 5, 4),
    f"{ROLLOUTS}/calendar__example_rollouts.jsonl": (GYM, 5, 5, 0, 0, 5, 2),
    f"{ROLLOUTS}/claude_code_agent__example_math_rollouts.jsonl": (GYM, 5, 12, 7, 7, 5, 1),
    f"{ROLLOUTS}/example_tool_call_multireward__example_rollouts.jsonl": (GYM, 5, 10, 5, 5, 5, 5),
    f"{ROLLOUTS}/google_search__example_rollouts.jsonl": (GYM, 5, 10, 5, 5, 5, 2),
    f"{ROLLOUTS}/mini_swe_agent_2__example_rollouts.jsonl": (GYM, 5, 62, 62, 129, 5, 1),
    f"{ROLLOUTS}/ns_tools__example_rollouts.jsonl": (GYM, 5, 26, 21, 21, 5, 5),
    f"{ROLLOUTS}/swebench__example_rollouts.jsonl": (GYM, 5, 0, 0, 0, 5, 1),
    f"{ROLLOUTS}/tau2__example_rollouts.jsonl": (GYM, 5, 9, 4, 4, 5, 5),
    "openhands/resolver_output.jsonl": ("openhands", 2, 26, 26, 26, 2, 2),
    "openhands/trajs_*.json": ("openhands", 4, 14, 11, 11, 0, 0),
    "claude_code_log/*.jsonl": ("anthropic", 3, 15, 8, 8, 0, 0),
    "llamafactory/glaive_toolcall_en_demo.json": ("sharegpt", 300, 957, 211, 211, 0, 0),
    "llamafactory/reason_tool_use_demo_50.jsonl": ("sharegpt", 50, 112, 53, 68, 0, 0),
    "llamafactory/v1_sft_demo.jsonl": ("sharegpt", 500, 500, 0, 0, 0, 0),
    "tinker_cookbook/conversations.jsonl": ("openai", 128, 128, 0, 0, 0, 0),
    "toolbench/data_example/answer/*/*.json": ("toolbench", 17, 52, 50, 50, 17, 11),
    "inspect_logs/*.json": ("inspect", 12, 15, 4, 4, 11, 9),
    "hermes/few_shot.json": ("hermes", 2, 2, 2, 2, 0, 0),
    "mini_swe_agent/*.traj.json": ("mini_swe_agent", 1, 10, 0, 0, 0, 0),
    "swe_agent/*.traj": ("swe_agent", 16, 167, 33, 33, 0, 0),
    "atif_derived/gpt*.json": ("atif", 15, 169, 70, 111, 15, 9),
}
"""Files -> format, trajectories, turns, turns with a call, calls, known outcomes, successes."""

FILES = {
    "openhands/trajs_*.json": 4,
    "claude_code_log/*.jsonl": 3,
    "toolbench/data_example/answer/*/*.json": 15,
    "inspect_logs/*.json": 9,
    "mini_swe_agent/*.traj.json": 1,
    "swe_agent/*.traj": 16,
    "atif_derived/gpt*.json": 15,
}
"""How many files the counts of a pattern are of; some files of each source may be elsewhere."""


@pytest.mark.parametrize("pattern", COUNTS)
def test_counts_equal_those_of_the_shared_data(pattern: str) -> None:
    paths = sorted(DATA.glob(pattern))
    if len(paths) != FILES.get(pattern, 1):
        pytest.skip(f"shared data {pattern}: {len(paths)} files are here, and the counts are of others")
    found = [read_file(path) for path in paths]
    trajectories = [row for _, rows in found for row in rows if isinstance(row, Trajectory)]
    turns = [t.messages[i] for t in trajectories for _, i in turns_of(t)]
    counted = (
        *sorted({name for name, _ in found}),
        len(trajectories),
        len(turns),
        sum(bool(turn.tool_calls) for turn in turns),
        sum(len(turn.tool_calls) for turn in turns),
        sum(t.outcome is not None for t in trajectories),
        sum(t.outcome is not None and t.outcome >= 1 for t in trajectories),
    )
    assert counted == COUNTS[pattern]


def test_files_of_unknown_format() -> None:
    unknown = [
        document.source
        for source in find_sources([str(DATA)])
        for document in source.documents()
        if detect(document) is None
    ]
    data = {"bfcl", "cases", "chat_templates", "conformance", "eval_samples", "tokenizers"}
    assert any(source.startswith("bfcl/") for source in unknown)
    left = {source for source in unknown if source.split("/")[0] not in data}
    left_here = {Path(source).suffix for source in left if "toolbench/" not in source}
    assert left_here <= {"", ".md", ".txt", ".json", ".jsonl", ".py"}
    assert {source for source in left if source.endswith(".jsonl")} == {
        "tau_bench/MockAirlineDomainEnv-few_shot.jsonl",
        "tau_bench/MockRetailDomainEnv-few_shot.jsonl",
    }


@pytest.mark.slow
def test_everything_under_the_shared_data_becomes_candidates_or_rejects() -> None:
    config = ExtractConfig(
        sources=[str(path) for path in sorted(DATA.iterdir()) if path.name != "cases" and path.is_dir()]
    )
    extraction = Extraction.from_config(config)
    rejects = Counter(
        row.reason.value for row in extraction.rows(find_sources(config.sources)) if isinstance(row, Reject)
    )
    summary = extraction.summary()
    assert summary.n_in == summary.n_candidates + summary.n_rejects
    assert "rejected_by_verifier" not in rejects
    assert set(rejects) == {"unknown_format", "incomplete", "no_assistant_turn", "bad_record", "undeclared_tool"}
