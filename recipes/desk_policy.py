"""Trains the shipped desk policy from scratch: tokenizer, then a small Qwen3 model, on one core in one to two hours.

The corpus is conversations of an agent with habits (`desk_habits.py`) on tasks of the split `base`, mixed
with clean skills and with drills: many look-ups of a city by its order in one short conversation, for copying what
stands behind a key is what so small a model learns last. Everything is rendered by `ChatFormat`, as later stages do.
Conversations that open with the same system turn share its computation: it runs once per step and its keys and values
are expanded over the batch.
With `--start` it continues from a finished policy on the conversations of another agent, whose habits follow from its
seed: a base that behaves differently, in a fifth of the time. The other bases of the study were made this way.
Left out: checkpoints, evaluation (`pivotrl eval`), and anything adaptive.

    python -m recipes.desk_policy --output pivotrl_cli/policies/desk --seed 0
    python -m recipes.desk_policy --output b --seed 1 --start pivotrl_cli/policies/desk --steps 300
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pivotrl_cli.environments import skills
from pivotrl_cli.environments.desk import phrases
from pivotrl_cli.environments.desk.tasks import expert_turns, tasks
from pivotrl_cli.environments.desk.world import SCHEMAS, TOOLS
from pivotrl_cli.model.chat import ChatFormat
from pivotrl_cli.model.folder import load_model, load_tokenizer
from pivotrl_cli.rows import Message, ToolCall
from recipes.desk_habits import RATES, converse, other_rates

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"]
VOCAB = 1024
PIECES = r"\d|[A-Z](?=\d)|[A-Z][a-z]+| ?(?:(?![A-Z])[^\s\d])+|[A-Z]|\s"
"""What a token never crosses. Digits, an id's letter and names stand alone, so that they are copied as the tokens that
they were read in; runs of lower-case text and punctuation merge whole, so that a call's fixed parts are few tokens."""

STEPS = 1600
DESK_TOKENS, SKILL_ITEMS, DRILLS = 8192, 96, 16
MUON_LR, ADAM_LR = 0.02, 4e-3
REST_WEIGHT = 0.1
"""Loss weight of tokens that the assistant did not write."""
CURRICULUM = 0.3125
"""First share of the steps, which sees short tasks only."""


@dataclass(frozen=True)
class Conversation:
    """One training text: ids after the shared system turn, and the loss weight of each."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Group:
    """Conversations that open with the same system turn."""

    prefix: list[int]
    conversations: list[Conversation]


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE on rendered conversations; any UTF-8 text encodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(tokenizer_texts(seed), trainer)
    return with_template(tokenizer)


def with_template(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers loads it, chat template included."""
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = Path(__file__).with_name("desk_chat_template.jinja").read_text()
    return wrapped


def tokenizer_texts(seed: int) -> Iterator[str]:
    """Rendered conversations without their special tokens."""
    chat = ChatFormat(with_template(Tokenizer(models.BPE())))
    special = re.compile("|".join(map(re.escape, SPECIAL)))
    for task in tasks("base", 2000, seed):
        yield special.sub("", chat.prompt_text(converse(task, seed)[0], TOOLS))
    for i in range(1000):
        item = skills.item(skills.TRAINED[i % len(skills.TRAINED)], f"{seed}-{i}")
        messages = [*skills.SkillEpisode(item).state, item.action()]
        yield special.sub("", chat.prompt_text(messages, item.tools))


def encode(chat: ChatFormat, messages: list[Message], tools: str, prefix: list[int]) -> Conversation:
    """Ids behind the shared prefix; the assistant's tokens carry full weight."""
    text = chat.prompt_text(messages, tools).removesuffix("<|im_start|>assistant\n")
    ids = chat.tokenizer.encode(text, add_special_tokens=False)
    assert ids[: len(prefix)] == prefix
    opening = chat.tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    eos, n = chat.tokenizer.eos_token_id, len(opening)
    weights, speaking = [], False
    for i, token in enumerate(ids):
        weights.append(1.0 if speaking else REST_WEIGHT)
        speaking = (speaking and token != eos) or ids[i - n + 1 : i + 1] == opening
    return Conversation(ids[len(prefix) :], weights[len(prefix) :])


def system_ids(chat: ChatFormat, system: str, tools: str) -> list[int]:
    """Ids of a system turn with its tools."""
    text = chat.prompt_text([Message(role="system", content=system)], tools).removesuffix("<|im_start|>assistant\n")
    ids = chat.tokenizer.encode(text, add_special_tokens=False)
    assert isinstance(ids, list)
    return ids


def desk_batches(
    chat: ChatFormat, seed: int, rates: dict[str, float], short_steps: int
) -> tuple[list[int], Iterator[list[Conversation]]]:
    """The desk's prefix and batches of about `DESK_TOKENS` tokens, alike in length, each conversation used once."""
    first = converse(tasks("base", 1, seed)[0], seed)[0]
    prefix = system_ids(chat, first[0].content, TOOLS)

    def batches() -> Iterator[list[Conversation]]:
        rng, block = Random(f"batches/{seed}"), 0
        step = 0
        while True:
            drawn = tasks("base", 512, seed * 100_000 + block)
            if step < short_steps:
                drawn = [task for task in drawn if expert_turns(task) <= 8]
            block += 1
            pool = [encode(chat, converse(task, seed, rates)[0], TOOLS, prefix) for task in drawn]
            ready = list(by_length(pool, DESK_TOKENS))
            rng.shuffle(ready)
            yield from ready
            step += len(ready)

    return prefix, batches()


def by_length(pool: list[Conversation], budget: int) -> Iterator[list[Conversation]]:
    """Cut the pool, sorted by length, into batches of at most `budget` padded tokens; the last may be small."""
    batch: list[Conversation] = []
    for conversation in sorted(pool, key=lambda c: len(c.ids)):
        if batch and (len(batch) + 1) * len(conversation.ids) > budget:
            yield batch
            batch = []
        batch.append(conversation)


def skill_groups(chat: ChatFormat, step: int, seed: int) -> list[Group]:
    """One step's skills, grouped by system turn."""
    groups: dict[tuple[str, str], Group] = {}
    for i in range(SKILL_ITEMS):
        item = skills.item(skills.TRAINED[i % len(skills.TRAINED)], f"base-{seed}-{step}-{i}")
        prefix = system_ids(chat, item.system, item.tools) if (item.system, item.tools) not in groups else []
        group = groups.setdefault((item.system, item.tools), Group(prefix, []))
        messages = [*skills.SkillEpisode(item).state, item.action()]
        group.conversations.append(encode(chat, messages, item.tools, group.prefix))
    return list(groups.values())


DRILL_SYSTEM = "Move every order, in any sequence."
DRILL_TOOLS = json.dumps([schema for schema in SCHEMAS if schema["function"]["name"] == "set_address"])


def drill_group(chat: ChatFormat, step: int, seed: int) -> Group:
    """One step's drills: a list of orders and cities, then each order once, in another sequence."""
    group = Group(system_ids(chat, DRILL_SYSTEM, DRILL_TOOLS), [])
    for i in range(DRILLS):
        messages = drill(Random(f"drill/{seed}/{step}/{i}"))
        group.conversations.append(encode(chat, messages, DRILL_TOOLS, group.prefix))
    return group


def drill(rng: Random) -> list[Message]:
    """One drill as a conversation."""
    ids = [f"{letter}{rng.randint(100, 999)}" for letter in rng.sample("ABCDEFGHJKLMNPQRSTVWXYZ", rng.randint(2, 6))]
    city = {order_id: rng.choice(phrases.CITIES) for order_id in ids}
    wishes = [phrases.wish(rng, "move", order_id, city[order_id]) for order_id in ids]
    messages = [Message(role="system", content=DRILL_SYSTEM), Message(role="user", content=phrases.join(wishes))]
    for order_id in rng.sample(ids, len(ids)):
        arguments = json.dumps({"order_id": order_id, "city": city[order_id]})
        call = ToolCall(id="call", name="set_address", arguments=arguments)
        messages.append(Message(role="assistant", tool_calls=[call]))
        messages.append(Message(role="tool", content='{"ok": true}', tool_call_id="call", name="set_address"))
    return messages


def group_loss(model: PreTrainedModel, group: Group) -> tuple[Tensor, Tensor]:
    """Summed weighted cross-entropy of a group and the sum of its weights."""
    size, longest = len(group.conversations), max(len(c.ids) for c in group.conversations)
    ids = torch.zeros(size, longest, dtype=torch.long)
    weights = torch.zeros(size, longest)
    for row, conversation in enumerate(group.conversations):
        ids[row, : len(conversation.ids)] = torch.tensor(conversation.ids)
        weights[row, : len(conversation.ids)] = torch.tensor(conversation.weights)
    cache = DynamicCache(config=model.config)
    model.model(torch.tensor([group.prefix]), None, None, cache)  # by place: transformers 5.22 renamed it
    cache.batch_repeat_interleave(size)
    hidden = model.model(ids, None, None, cache).last_hidden_state
    scored = weights[:, 1:] > 0
    logits = model.lm_head(hidden[:, :-1][scored]).float()
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][scored], reduction="none")
    return (losses * weights[:, 1:][scored]).sum(), weights[:, 1:].sum()


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """The untrained policy, under two million parameters."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]


def make_optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(inner, lr=MUON_LR, weight_decay=0.0),
        torch.optim.AdamW(outer, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def learning_rate(step: int, steps: int) -> float:
    """Factor on the rates: a short warm-up, a plateau, then linear to zero over the last half."""
    return min(1.0, (step + 1) / 20, 2 * (1 - step / steps))


def pretrain(model: PreTrainedModel, chat: ChatFormat, steps: int, seed: int, *, further: bool) -> None:
    """Next-token training on the desk and the skills together; `further` from a policy, at half the rates."""
    optimizers = make_optimizers(model)
    base = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    rates, short_steps = (other_rates(seed), 0) if further else (RATES, int(CURRICULUM * steps))
    prefix, batches = desk_batches(chat, seed, rates, short_steps)
    began = time.monotonic()
    for step in range(steps):
        factor = learning_rate(step, steps) * (0.5 if further else 1.0)
        for group, rate in zip((g for o in optimizers for g in o.param_groups), base, strict=True):
            group["lr"] = rate * factor
        groups = [Group(prefix, next(batches)), drill_group(chat, step, seed), *skill_groups(chat, step, seed)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = [group_loss(model, group) for group in groups]
        loss = sum((total for total, _ in parts), torch.zeros(())) / sum(weight.item() for _, weight in parts)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 20 == 0 or step == steps - 1:
            shown = " ".join(f"{total.item() / weight.item():.3f}" for total, weight in parts)
            print(f"step {step} loss {shown} {time.monotonic() - began:.0f}s", file=sys.stderr, flush=True)


def begin(start: Path | None, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The policy to continue from, or a new one."""
    if start is not None:
        return load_model(start, torch.device("cpu"), torch.float32), load_tokenizer(start)
    tokenizer = train_tokenizer(seed)
    return new_model(tokenizer, seed), tokenizer


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of corpus, weights and batches")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps")
    parser.add_argument("--start", type=Path, help="model folder to continue from, with the habits of another agent")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of what makes runs identical")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = begin(options.start, options.seed)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", file=sys.stderr)
    pretrain(model, ChatFormat(tokenizer), options.steps, options.seed, further=options.start is not None)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)


if __name__ == "__main__":
    main()
