"""Models and tables that several test files share. No test depends on the shipped policy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tables import CUT, FAILED, RIGHT, TALK, WRONG, calls, candidate, says, script, user, write

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny models lose by a second thread

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"]

TEMPLATE = """\
{%- if tools %}<|im_start|>tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>tool
{{ message.content }}<|im_end|>
{% else %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>
{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""ChatML with Hermes calls; a prompt is a prefix of every turn that follows it."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen3 with weights large enough that its distributions are far from uniform."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from pivotrl_cli.model.folder import save

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(model, tokenizer, folder)
    return folder


def tiny_tokenizer():
    """Byte-level BPE over a few lines, so that any text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = [RIGHT, WRONG, TALK, "user", "assistant", "look at order 7.", "yes", "no"]
    tokenizer.train_from_iterator(lines * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


@pytest.fixture(scope="session")
def talker(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model after imitation of `yes` and `never`, which it then says about equally often."""
    from pivotrl_cli.configs import TrainConfig
    from pivotrl_cli.stages.train import run as train

    folder = tmp_path_factory.mktemp("talker")
    rows = [
        candidate(f"{answer}-{i}", state=[user(f"Question {i}?")], tools="[]", expected_action=says(answer))
        for i in range(8)
        for answer in ("yes", "never")
    ]
    config = TrainConfig(
        pivots=str(write(folder / "c.parquet", rows)),
        output=str(folder / "talker"),
        model=str(tiny_model),
        method="sft",
        steps=60,
        prompts_per_step=16,
        learning_rate=1e-2,
        device="cpu",
    )
    train.run(config)
    return folder / "talker"


@pytest.fixture(scope="session")
def chain_inputs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the inputs of every command; link it, never write in it."""
    from chain import inputs

    return inputs(tmp_path_factory.mktemp("inputs"), tiny_model)


@pytest.fixture
def candidates_file(tmp_path: Path) -> Path:
    """Six candidates of three trajectories; the fourth demonstrates a message, the last is held out."""
    rows = [
        candidate("a-0"),
        candidate("a-1"),
        candidate("b-0"),
        candidate("b-1", expected_action=says("Which order do you mean?")),
        candidate("c-0", expected_action=calls("look", '{"order": 8}')),
        candidate("c-1", split="holdout"),
    ]
    return write(tmp_path / "candidates.parquet", rows)


@pytest.fixture
def replay_file(tmp_path: Path) -> Path:
    """Four completions for each of them: rewards 1 0 - 1, 1 1 1 1, 0 0 0 0, 1 1 0 0, 0 1 0 0, - - - -."""
    completions = {
        "a-0": [RIGHT, WRONG, CUT, RIGHT],
        "a-1": [RIGHT] * 4,
        "b-0": [WRONG, TALK, "", "<tool_call>"],
        "b-1": [TALK, "Which order do you mean?", RIGHT, WRONG],
        "c-0": [RIGHT, WRONG, TALK, RIGHT],
        "c-1": [FAILED] * 4,
    }
    return script(tmp_path / "replay.jsonl", completions)


@pytest.fixture
def profile_file(tmp_path: Path, candidates_file: Path, replay_file: Path) -> Path:
    """The profile of both."""
    from pivotrl_cli.configs import ProfileConfig
    from pivotrl_cli.stages.profile import run as profile

    output = tmp_path / "profile.parquet"
    profile.run(
        ProfileConfig(candidates=str(candidates_file), engine="replay", replay=replay_file, n=4, output=str(output))
    )
    return output
