from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from tables import candidate, read, says, user, write
from training import MACHINE, MODEL_FOLDER, kill, metrics_of, rollouts_of, says_yes, weights_of, without_seconds
from transformers import AutoModelForCausalLM, AutoTokenizer

from pivotrl_cli.configs import EngineConfig, TrainConfig
from pivotrl_cli.engines import hf
from pivotrl_cli.errors import ConfigError, InputError, OutputError, RunError
from pivotrl_cli.learn import policy
from pivotrl_cli.rows import Candidate, StepMetrics
from pivotrl_cli.stages.train import run as train
from pivotrl_cli.stages.train.pivot_order import PivotSampler
from pivotrl_cli.stages.train.sft import Sft
from pivotrl_cli.storage.table import Table


def test_grpo_makes_what_is_rewarded_likelier(config, verifiers, talker):
    config = config.model_copy(update={"verifier": f"{verifiers}:yes", "steps": 12})
    summary = train.run(config)
    assert 0.2 < says_yes(talker) < 0.8
    assert says_yes(config.output) > 0.95
    metrics = metrics_of(config)
    assert np.mean([m.reward_mean for m in metrics[-3:]]) > np.mean([m.reward_mean for m in metrics[:3]]) + 0.2
    assert summary.reward_first == metrics[0].reward_mean
    assert summary.reward_last == metrics[-1].reward_mean


def test_every_number_of_a_step_can_be_found_in_its_rollouts(config, verifiers):
    config = config.model_copy(update={"verifier": f"{verifiers}:yes"})
    summary = train.run(config)
    rollouts, turns = rollouts_of(config), 0
    for m in metrics_of(config):
        mine = [r for r in rollouts if r.step == m.step]
        groups = [mine[i : i + 8] for i in range(0, len(mine), 8)]
        assert all([r.sample for r in group] == list(range(8)) for group in groups)
        trained = [group for group in groups if len({r.reward for r in group}) == 2]
        turns += len(mine)
        assert m.reward_mean == pytest.approx(np.mean([r.reward for r in mine]))
        assert m.reward_std == pytest.approx(np.mean([np.std([r.reward for r in group]) for group in groups]))
        assert m.n_groups == len(trained)
        assert m.n_all_right == sum(all(r.reward == 1.0 for r in group) for group in groups)
        assert m.n_all_wrong == sum(all(r.reward == 0.0 for r in group) for group in groups)
        assert (m.n_unscored, m.n_unusable, m.rollout_turns) == (0, 0, turns)
        assert m.n_completion_tokens == sum(r.n_tokens for group in trained for r in group)
        assert m.logprob_gap < 1e-4
        assert m.ratio_mean == pytest.approx(1.0, abs=1e-4)
        assert (m.kl, m.clip_low, m.clip_high, m.learning_rate) == (None, 0.0, 0.0, 2e-3)
        for group in groups:
            rewards = np.array([r.reward for r in group])
            expected = (rewards - rewards.mean()) / (rewards.std() + 1e-6) if group in trained else [None] * 8
            assert [r.advantage for r in group] == (pytest.approx(expected) if group in trained else expected)
    assert summary.rollout_turns == turns == len(rollouts)
    assert summary.groups_trained == sum(m.n_groups for m in metrics_of(config))
    assert summary.steps == 3
    assert summary.stopped == "all steps done"


def test_the_same_config_gives_the_same_weights_and_rollouts(config, verifiers, tmp_path):
    first = config.model_copy(update={"verifier": f"{verifiers}:yes"})
    again = first.model_copy(update={"output": str(tmp_path / "again")})
    other = first.model_copy(update={"output": str(tmp_path / "other"), "seed": 1})
    for one in (first, again, other):
        train.run(one)
    weights = [(Path(c.output) / "model.safetensors").read_bytes() for c in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]
    assert (Path(first.output) / "rollouts.parquet").read_bytes() == (
        Path(again.output) / "rollouts.parquet"
    ).read_bytes()
    assert without_seconds(metrics_of(first)) == without_seconds(metrics_of(again))


def test_kl_and_several_updates_are_measured(config, verifiers):
    config = config.model_copy(
        update={"verifier": f"{verifiers}:yes", "kl_coef": 0.1, "updates_per_batch": 3, "learning_rate": 5e-3}
    )
    train.run(config)
    first, *_, last = metrics_of(config)
    assert first.kl is not None
    assert last.kl is not None
    assert last.kl > first.kl > 0.0
    assert first.logprob_gap < 1e-4
    assert max(m.clip_low + m.clip_high for m in metrics_of(config)) > 0.0


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_both_layouts_learn_the_same(config, verifiers, tmp_path, method, capsys):
    measured = {}
    for layout in ("tree", "plain"):
        changes = {"output": str(tmp_path / layout), "layout": layout, "method": method, "kl_coef": 0.1}
        run = config.model_copy(update={"verifier": f"{verifiers}:yes", **changes})
        summary = train.run(run)
        assert summary.plain_layout == (None if layout == "tree" else "--layout plain")
        differ = MACHINE | {"prefix_reuse"}
        measured[layout] = [m.model_dump(exclude=differ, exclude_none=True) for m in metrics_of(run)]
        reuse = [m.prefix_reuse for m in metrics_of(run)]
        assert all(r > 1.0 for r in reuse) if layout == "tree" else all(0.5 < r <= 1.0 for r in reuse)
    for tree, plain in zip(measured["tree"], measured["plain"], strict=True):
        assert tree == pytest.approx(plain, rel=1e-3, abs=1e-5)
    assert capsys.readouterr().err == ""


def test_a_model_that_the_tree_does_not_know_takes_the_plain_layout_and_says_so(config, verifiers, monkeypatch, capsys):
    monkeypatch.setattr(policy, "TREE_MODELS", frozenset())
    config = config.model_copy(update={"verifier": f"{verifiers}:yes", "steps": 1})
    reason = "the layers of qwen3 are not among those that a prefix tree knows"
    assert train.run(config).plain_layout == reason
    assert capsys.readouterr().err == f"train: plain layout, several times slower: {reason}\n"


def test_a_model_that_the_tree_scores_otherwise_is_refused(config, verifiers, monkeypatch):
    class Shifted(policy.TreePlan):
        def __init__(self, row, device):
            super().__init__(replace(row, depths=[depth + depth // 20 for depth in row.depths]), device)

    monkeypatch.setattr(policy, "TreePlan", Shifted)
    with pytest.raises(RunError, match=r"prefix tree differ from the plain path's by 0\.\d+") as refused:
        train.run(config.model_copy(update={"verifier": f"{verifiers}:yes"}))
    assert refused.value.hint == "train with --layout plain, and report the model"


def test_sft_lowers_the_loss_and_imitates(config, talker):
    config = config.model_copy(update={"method": "sft", "steps": 8})
    summary = train.run(config)
    losses = [m.loss for m in metrics_of(config)]
    assert losses[-1] < losses[0] / 2
    assert (summary.loss_first, summary.loss_last) == (losses[0], losses[-1])
    assert says_yes(config.output) > says_yes(talker) + 0.2
    assert rollouts_of(config) == []
    first = metrics_of(config)[0]
    assert (first.n_groups, first.reward_mean, first.rollout_turns) == (4, None, 0)
    # the first loss is the mean negative log-likelihood per token of `yes<|im_end|>` under the talker
    model = AutoModelForCausalLM.from_pretrained(talker)
    chat = hf.open_engine(EngineConfig(model=str(talker), device="cpu", sample_token_budget=1)).chat
    from pivotrl_cli.learn.policy import completion_logprobs

    deck = drawn(config, 4)
    prompts = [chat.prompt_ids(c.state, c.tools) for c in deck]
    completions = [[chat.completion_ids(c.state, c.tools, c.expected_action)] for c in deck]
    assert losses[0] == pytest.approx(
        -completion_logprobs(model, prompts, completions).logprobs.mean().item(), rel=1e-4
    )


def drawn(config: TrainConfig, n: int) -> list[Candidate]:
    """The first rows that a run draws."""
    with Table.open(config.pivots, Candidate) as table:
        deck = PivotSampler(table, np.arange(6), np.ones(6), config.seed)
        return [deck.at(row) for row in deck.draw(n)]


def test_the_output_is_a_model_folder_that_transformers_loads(config, verifiers, talker):
    train.run(config.model_copy(update={"verifier": f"{verifiers}:yes"}))
    assert sorted(path.name for path in Path(config.output).iterdir()) == MODEL_FOLDER
    tokenizer = AutoTokenizer.from_pretrained(config.output)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(talker).chat_template
    model = AutoModelForCausalLM.from_pretrained(config.output)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (talker, config.output))
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
    note = json.loads((Path(config.output) / "pivotrl.json").read_text())
    assert note["provenance"]["config"]["model"] == "talker"
    assert str(Path(config.output).parent) not in json.dumps(note)


def test_an_output_that_is_up_to_date_is_left_alone_and_another_is_refused(config, verifiers):
    config = config.model_copy(update={"verifier": f"{verifiers}:yes"})
    summary = train.run(config)
    before = (Path(config.output) / "model.safetensors").stat().st_mtime_ns
    assert train.run(config) == summary.model_copy(update={"cached": True})
    assert (Path(config.output) / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(OutputError) as error:
        train.run(config.model_copy(update={"steps": 4, "learning_rate": 1e-4}))
    assert error.value.message == (
        f"{config.output} exists and was made differently: config.learning_rate: 0.002 -> 0.0001; config.steps: 3 -> 4"
    )
    assert error.value.hint == "add --force to overwrite it, or choose another -o"
    train.run(config.model_copy(update={"steps": 1, "force": True}))
    assert len(metrics_of(config)) == 1


def test_a_folder_of_something_else_is_never_overwritten(config):
    folder = Path(config.output)
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(OutputError, match="pivotrl did not write it"):
            train.run(config.model_copy(update={"force": force}))
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("output", ["-", ".", ".."])
def test_the_output_must_be_a_folder_of_its_own(config, output):
    with pytest.raises(ConfigError, match="train writes a new folder"):
        train.run(config.model_copy(update={"output": output}))


def test_groups_without_variance_are_replaced_counted_and_end_the_run(config, verifiers, talker):
    config = config.model_copy(update={"verifier": f"{verifiers}:always", "steps": 9, "max_refills": 2})
    summary = train.run(config)
    metrics = metrics_of(config)
    assert [(m.loss, m.grad_norm, m.n_groups, m.n_all_right, m.n_all_wrong) for m in metrics] == [
        (None, None, 0, 12, 0)
    ] * 3
    assert summary.stopped == "step 3: no group varied in 3 steps, the pivots are used up"
    assert summary.rollout_turns == 3 * 12 * 8
    assert {r.advantage for r in rollouts_of(config)} == {None}
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (talker, config.output))
    assert all((before[name] == after[name]).all() for name in before)
    patient = config.model_copy(update={"max_empty_steps": 10, "output": f"{config.output}-patient"})
    assert train.run(patient).stopped == "all steps done"
    assert [m.n_all_right for m in metrics_of(patient)] == [12] * 9


def test_when_nothing_can_be_scored_the_run_fails_and_says_why(config, verifiers):
    with pytest.raises(RunError) as error:
        train.run(config.model_copy(update={"verifier": f"{verifiers}:broken", "max_refills": 0}))
    assert error.value.message == (
        "step 3: no rollout could be scored: 32 truncated or failed,"
        " 0 rows that do not fit the context or the chat template"
    )
    with pytest.raises(RunError, match="32 truncated or failed"):
        train.run(config.model_copy(update={"max_new_tokens": 1, "max_refills": 0}))
    assert not Path(config.output).exists()


def test_cut_rollouts_carry_no_loss(config, verifiers):
    """Three tokens are enough for `yes` and its end, not for `never`; what is scored is right and wrong in turn."""
    config = config.model_copy(update={"max_new_tokens": 3, "steps": 1, "verifier": f"{verifiers}:in_turn"})
    train.run(config)
    rollouts, (metrics,) = rollouts_of(config), metrics_of(config)
    cut = [r for r in rollouts if r.finish_reason == "length"]
    assert 0 < len(cut) < len(rollouts)
    assert {(r.reward, r.verdict, r.advantage) for r in cut} == {(None, "truncated", None)}
    assert metrics.n_unscored == len(cut)
    assert metrics.n_groups == 4
    assert metrics.n_completion_tokens == sum(r.n_tokens for r in rollouts if r.advantage is not None)
    assert {r.advantage is None for r in rollouts if r.finish_reason == "stop"} == {False}


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_rows_that_do_not_fit_are_counted(config, tmp_path, method):
    rows = [
        candidate(
            f"q{i}-0",
            state=[user("x" * 600 if i % 2 else "Question 1?")],
            tools="[]",
            expected_action=says("yes"),
            verifier="exact",
        )
        for i in range(4)
    ]
    mixed = config.model_copy(
        update={"pivots": str(write(tmp_path / "mixed.parquet", rows)), "method": method, "steps": 1, "max_refills": 0}
    )
    assert train.run(mixed).rows_unusable == 2
    long = mixed.model_copy(
        update={
            "pivots": str(write(tmp_path / "long.parquet", rows[1::2])),
            "output": str(tmp_path / "none"),
            "steps": 5,
        }
    )
    with pytest.raises(InputError if method == "sft" else RunError, match="4 rows that do not fit"):
        train.run(long)
    if method == "sft":  # however few steps there are: nothing was trained
        with pytest.raises(InputError, match="step 1: nothing but 4 rows that do not fit"):
            train.run(long.model_copy(update={"steps": 1, "output": str(tmp_path / "one")}))


@pytest.mark.slow
def test_a_killed_run_without_checkpoint_begins_again(config, verifiers):
    config = config.model_copy(update={"verifier": f"{verifiers}:mortal"})
    kill(config, 40)
    assert not Path(config.output).exists()
    assert [m.step for m in read(Path(f"{config.output}.partial/metrics.parquet"), StepMetrics)] == [1]
    assert "resumed_after" not in train.run(config)
    assert [m.step for m in metrics_of(config)] == [1, 2, 3]
    assert not Path(f"{config.output}.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 75, 100, 130, 180])
def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_bytes(config, verifiers, tmp_path, n):
    config = config.model_copy(update={"verifier": f"{verifiers}:mortal", "steps": 6, "kl_coef": 0.1})
    config = config.model_copy(update={"schedule": "cosine", "checkpoint_every": 2})
    whole = config.model_copy(update={"output": str(tmp_path / "whole")})
    train.run(whole)
    kill(config, n)
    kept = [int(p.name) for p in Path(f"{config.output}.partial/checkpoints").iterdir() if p.name.isdigit()]
    assert (train.run(config).resumed_after or 0) == max(kept, default=0)
    assert without_seconds(metrics_of(config)) == without_seconds(metrics_of(whole))
    assert rollouts_of(config) == rollouts_of(whole)
    assert weights_of(config) == weights_of(whole)
    assert sorted(p.name for p in Path(config.output).iterdir()) == sorted(p.name for p in tmp_path.glob("whole/*"))


@pytest.mark.slow
def test_old_checkpoints_go_and_the_last_ones_load(config, verifiers):
    config = config.model_copy(update={"verifier": f"{verifiers}:mortal", "steps": 6, "checkpoint_every": 1})
    kill(config, 32 * 4 + 5)
    done = len(read(Path(f"{config.output}.partial/metrics.parquet"), StepMetrics))
    kept = sorted(Path(f"{config.output}.partial/checkpoints").iterdir())
    assert [p.name for p in kept] == [f"{step:06d}" for step in (done - 1, done)]
    assert all(0 < says_yes(folder, n=16) < 1 for folder in kept)


def test_copies_on_the_way_are_the_models_of_shorter_runs(config, verifiers, tmp_path):
    known = {"verifier": f"{verifiers}:yes", "save_every": 2}
    longer = config.model_copy(update=known | {"steps": 5, "output": str(tmp_path / "longer")})
    shorter = config.model_copy(update=known | {"steps": 4, "output": str(tmp_path / "shorter")})
    train.run(longer)
    train.run(shorter)
    assert sorted(path.name for path in (tmp_path / "longer/steps").iterdir()) == ["000002", "000004"]
    assert sorted(path.name for path in (tmp_path / "shorter/steps").iterdir()) == ["000002"]
    assert {p.name for p in (tmp_path / "longer/steps/000004").iterdir()} == {
        *("chat_template.jinja", "config.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    assert (tmp_path / "longer/steps/000004/model.safetensors").read_bytes() == weights_of(shorter)
    assert says_yes(tmp_path / "longer/steps/000004") == says_yes(shorter.output)


@pytest.mark.slow
def test_a_changed_config_does_not_go_on_from_anothers_checkpoint(config, verifiers):
    config = config.model_copy(update={"verifier": f"{verifiers}:mortal", "steps": 6, "checkpoint_every": 1})
    kill(config, 40)
    other = config.model_copy(update={"learning_rate": 1e-3})
    with pytest.raises(OutputError, match=r"config\.learning_rate: 0\.002 -> 0\.001"):
        train.run(other)
    assert "resumed_after" not in train.run(other.model_copy(update={"force": True}))


def test_sft_goes_on_from_a_checkpoint_too(config, tmp_path, monkeypatch):
    config = config.model_copy(update={"method": "sft", "steps": 5, "checkpoint_every": 2})
    whole = config.model_copy(update={"output": str(tmp_path / "whole")})
    train.run(whole)
    step, taken = Sft.step, []

    def ends(self, number):
        taken.append(number)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Sft, "step", ends)
    with pytest.raises(KeyboardInterrupt):
        train.run(config)
    assert train.run(config).resumed_after == 2
    assert taken == [1, 2, 3, 4, 3, 4, 5]
    assert weights_of(config) == weights_of(whole)


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_a_step_with_an_unusable_gradient_is_skipped_and_three_end_the_run(config, verifiers, method):
    config = config.model_copy(update={"verifier": f"{verifiers}:yes", "method": method, "steps": 5})
    with pytest.raises(RunError, match=r"step 3: 3 steps in a row were skipped, .* above 1e-09"):
        train.run(config.model_copy(update={"skip_grad_norm": 1e-9}))
    skipped = read(Path(f"{config.output}.partial/metrics.parquet"), StepMetrics)
    assert [(m.step, m.loss, m.skipped is not None) for m in skipped] == [(n, None, True) for n in (1, 2, 3)]


def test_the_deck_deals_every_row_once_an_epoch_and_follows_weights(questions):
    with Table.open(questions, Candidate) as table:
        deck = PivotSampler(table, np.array([1, 3, 5]), np.ones(3), seed=0)
        epochs = [deck.draw(3) for _ in range(20)]
        assert {tuple(sorted(epoch)) for epoch in epochs} == {(1, 3, 5)}
        assert len({tuple(epoch) for epoch in epochs}) > 1
        assert deck.at(3).candidate_id == "q3-0"
        heavy = PivotSampler(table, np.arange(6), np.array([5.0, 1.0, 1.0, 1.0, 1.0, 1.0]), seed=0)
        drawn = heavy.draw(3000)
    assert drawn.count(0) / 3000 == pytest.approx(0.5, abs=0.03)
    assert drawn.count(1) / 3000 == pytest.approx(0.1, abs=0.02)


def test_the_pivot_sampler_excludes_rows_and_resumes(questions):
    with Table.open(questions, Candidate) as table:
        samplers = [PivotSampler(table, np.arange(6), np.ones(6), seed=0) for _ in range(2)]
        drawn = samplers[0].draw(5) + samplers[0].draw(7, exclude={0, 3})
        assert not {0, 3} & set(drawn[5:])
        samplers[1].skip(samplers[0].n_drawn)
        assert samplers[0].draw(9, exclude={1}) == samplers[1].draw(9, exclude={1})
        assert samplers[0].draw(9, exclude=set(range(6))) == []


def test_only_the_training_split_trains(config, tmp_path):
    rows = [
        candidate(
            f"q{i}-0",
            state=[user("Question 1?")],
            tools="[]",
            expected_action=says("yes"),
            verifier="exact",
            split="holdout" if i else "train",
        )
        for i in range(3)
    ]
    config = config.model_copy(update={"pivots": str(write(tmp_path / "held.parquet", rows)), "steps": 1})
    summary = train.run(config)
    assert (summary.rows, summary.holdout_rows_left_out) == (1, 2)
    assert {r.candidate_id for r in rollouts_of(config)} == {"q0-0"}
    with pytest.raises(InputError, match="no rows in the train split"):
        train.run(config.model_copy(update={"pivots": str(write(tmp_path / "none.parquet", rows[1:]))}))


def test_the_model_card_says_where_the_model_comes_from(config, verifiers, tmp_path):
    config = config.model_copy(update={"verifier": f"{verifiers}:yes", "reprofile_every": 2})
    again = config.model_copy(update={"output": str(tmp_path / "again")})
    for one in (config, again):
        train.run(one)
    card = (Path(config.output) / "README.md").read_text()
    assert card == (Path(again.output) / "README.md").read_text()
    assert str(tmp_path) not in card
    metadata, _, text = card.removeprefix("---\n").partition("---\n")
    assert metadata == "library_name: transformers\npipeline_tag: text-generation\ntags: [pivotrl, grpo]\n"
    note = json.loads((Path(config.output) / "pivotrl.json").read_text())["provenance"]
    model, pivots = note["fingerprints"]["model"][:12], note["inputs"][0]["sha256"][:12]
    assert f"Trained from `talker` (sha256 `{model}`) by PivotRL" in text
    assert f"- `questions.parquet` (sha256 `{pivots}`), by `pivotrl extract`" in text
    assert "| learning_rate | 0.002 |" in text
    rewards = [m.reward_mean for m in metrics_of(config)]
    assert f"| reward_mean | {rewards[0]:.4g} at first, {rewards[-1]:.4g} at last |" in text


@pytest.fixture
def two_of_three(config, tmp_path) -> TrainConfig:
    """Rows of which one demonstrates a text that ends the turn in the middle."""
    texts = ["yes", "say <|im_end|> twice", "yes"]
    rows = [
        candidate(f"t{i}-0", state=[user("Question?")], tools="[]", expected_action=says(text), verifier="exact")
        for i, text in enumerate(texts)
    ]
    pivots = write(tmp_path / "three.parquet", rows)
    return config.model_copy(update={"pivots": str(pivots), "method": "sft", "steps": 2})


def test_targets_that_cannot_be_right_are_counted_shown_and_not_trained(two_of_three, capsys):
    summary = train.run(two_of_three)
    assert summary.target_faults == {"target_cut": 1}
    assert (summary.rows, summary.groups_trained, summary.rows_unusable) == (3, 8, 0)
    shown = "three.parquet: 1 of 3 rows: target_cut: generation would stop in the middle, at <|im_end|> (first t1-0)"
    assert shown in capsys.readouterr().err


def test_a_run_without_a_row_that_can_be_trained_is_an_error(two_of_three, tmp_path):
    rows = read(Path(two_of_three.pivots), Candidate)[1:2]
    config = two_of_three.model_copy(update={"pivots": str(write(tmp_path / "one.parquet", rows))})
    with pytest.raises(InputError, match=r"one\.parquet: no row can be trained: 1 target_cut: .* \(first t1-0\)"):
        train.run(config)
