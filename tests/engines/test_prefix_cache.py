"""What the embedded engine keeps of a turn for the next one: the same samples from less work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tables import says, user
from transformers import DynamicCache

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.engines import Completion, Request, Sampling, each_group, hf
from pivotrl_cli.engines.decoding import last_logits
from pivotrl_cli.engines.prefix_cache import PrefixCache


@pytest.fixture
def engine(tiny_model: Path) -> hf.HFEngine:
    return hf.open_engine(EngineConfig(model=str(tiny_model), device="cpu", sample_token_budget=100_000))


def turns(n: int) -> list[Request]:
    """Three episodes after `n` turns; the second says less."""
    chats = [
        [user(f"Episode {i}."), *[one for t in range(n) for one in (says(f"{t}" * i), user("On."))]] for i in (5, 1, 9)
    ]
    return [Request(key=f"{i}/{n}", state=state, tools="[]") for i, state in enumerate(chats)]


def drawn(engine: hf.HFEngine, n: int, prefix_cache: str) -> list[list[Completion]]:
    sampling = Sampling(n=2, max_new_tokens=8, prefix_cache=prefix_cache)
    found = {group.request.key: group.completions for group in each_group(engine, turns(n), sampling)}
    return [found[request.key] for request in turns(n)]


def computed(engine: hf.HFEngine) -> list[int]:
    """Grows by the positions of every forward pass of more than one token."""
    sizes: list[int] = []
    engine.model.register_forward_pre_hook(
        lambda _, __, kwargs: sizes.append(kwargs["input_ids"].numel()) if kwargs["input_ids"].shape[1] > 1 else None,
        with_kwargs=True,
    )
    return sizes


def test_turns_that_go_on_are_sampled_as_if_computed_whole(engine):
    whole = [drawn(engine, n, "off") for n in range(4)]
    sizes = computed(engine)
    kept = [drawn(engine, n, "start" if n == 0 else "continue") for n in range(4)]
    assert [[[c.token_ids for c in two] for two in turn] for turn in kept] == [
        [[c.token_ids for c in two] for two in turn] for turn in whole
    ]
    for of_kept, of_whole in zip(kept[3], whole[3], strict=True):
        for a, b in zip(of_kept, of_whole, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    with_cache, _ = sum(sizes[-1:]), sizes.clear()
    drawn(engine, 3, "off")
    assert with_cache < sum(sizes) / 2


def test_a_start_forgets_what_other_weights_left(engine):
    drawn(engine, 0, "start")
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.mul_(1.5)
    fresh = [[c.token_ids for c in two] for two in drawn(engine, 1, "off")]
    drawn(engine, 0, "start")
    assert [[c.token_ids for c in two] for two in drawn(engine, 1, "continue")] == fresh


def kept(engine: hf.HFEngine, prompts: list[list[int]], token_budget: int = 100) -> PrefixCache:
    """The prompts, all of one length, as a call leaves them."""
    cache = DynamicCache(config=engine.model.config)
    with torch.no_grad():
        last_logits(engine.model, cache, input_ids=torch.tensor(prompts))
    store = PrefixCache(token_budget)
    store.add(prompts, torch.ones(len(prompts), len(prompts[0]), dtype=torch.long), cache)
    store.rotate()
    return store


def test_a_prompt_starts_from_the_one_that_it_agrees_with_for_longest(engine):
    store = kept(engine, [[5, 6, 7, 8], [5, 6, 9, 9]])
    cache, mask, lengths = store.lookup([[5, 6, 7, 8, 1], [5, 6, 9], [4, 4], [5, 6, 7, 8]], engine.model.config)
    assert lengths == [4, 2, 0, 3]  # of what is known whole, one token is left to compute
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    alone = DynamicCache(config=engine.model.config)
    with torch.no_grad():
        last_logits(engine.model, alone, input_ids=torch.tensor([[5, 6, 7]]))
    torch.testing.assert_close(cache.layers[1].values[3, :, :3], alone.layers[1].values[0])
    assert not cache.layers[1].values[3, :, 3].any()


def test_nothing_known_is_nothing_kept(engine):
    assert kept(engine, [[5, 6]]).lookup([[4, 5, 6]], engine.model.config) is None
    assert kept(engine, [[5, 6], [7, 8]], token_budget=3).lookup([[5, 6, 7]], engine.model.config) is None
    store = kept(engine, [[5, 6]])
    store.rotate()
    assert store.lookup([[5, 6, 7]], engine.model.config) is None
