"""Tree against plain, and both against one sequence at a time through the model's own forward."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from learn_models import KINDS, RELATIVES, gradients, relative, tiny, tokens
from torch import Tensor
from transformers import PreTrainedModel

from pivotrl_cli.learn import cascade, policy
from pivotrl_cli.learn.cascade import TreePlan
from pivotrl_cli.learn.policy import TREE_MODELS, completion_logprobs, plain_reason

Groups = list[list[list[int]]]

TRUNK = tokens(44)[0]
PROMPTS = tokens(17, 5, 30)
EQUAL = [tokens(4, 4), tokens(4, 4, seed=1), tokens(4, 4, seed=2)]
RAGGED = [tokens(4, 1, 9), tokens(2, seed=1), tokens(1, 12, 5, 40, seed=2)]
SINGLE = [tokens(1, 1), tokens(1, 1, seed=1), tokens(1, 1, seed=2)]
PIVOTS = [TRUNK[:21], TRUNK, [*TRUNK[:21], 60, 3], [*TRUNK[:21], 60, 5, 6], TRUNK[:33], TRUNK]
"""One trajectory: two points inside it, two ends of their own that share a token, the whole of it twice."""
PIVOT_GROUPS = [
    tokens(3, 8),
    tokens(1, 7, seed=1),
    tokens(9, seed=2),
    tokens(2, seed=3),
    tokens(5, 1, seed=4),
    tokens(6),
]
CASES = {
    "equal": (PROMPTS, EQUAL),
    "ragged": (PROMPTS, RAGGED),
    "single tokens": (PROMPTS, SINGLE),
    "one rollout": (PROMPTS[:1], [tokens(6, seed=3)]),
    "pivots": (PIVOTS, PIVOT_GROUPS),
    "pivots and others": (PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED),
}


def one_by_one(model: PreTrainedModel, prompts: list[list[int]], groups: Groups, temperature: float) -> list[Tensor]:
    """Log-probabilities and entropies, with nothing padded, packed or batched."""
    logprobs, entropies = [], []
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
            table = logits.log_softmax(-1)
            logprobs.append(table[torch.arange(len(completion)), torch.tensor(completion)])
            entropies.append(-(table.exp() * table).sum(-1))
    return [torch.cat(logprobs), torch.cat(entropies)]


def assert_exact(model: PreTrainedModel, prompts: list[list[int]], groups: Groups, tolerance: float = 1e-5) -> None:
    """The tree's log-probabilities, entropies and every gradient are those of one sequence at a time."""
    expected, expected_entropies = one_by_one(model, prompts, groups, temperature=0.7)
    expected_gradients = gradients(model, expected)
    scores = completion_logprobs(model, prompts, groups, 0.7, tree=True)
    assert relative(scores.logprobs, expected) < tolerance
    assert relative(scores.entropies, expected_entropies) < tolerance
    actual_gradients = gradients(model, scores.logprobs)
    assert actual_gradients.keys() == expected_gradients.keys()
    for name, expected_gradient in expected_gradients.items():
        assert relative(actual_gradients[name], expected_gradient) < tolerance, name


def tolerance_of(kind: str) -> float:
    """The hybrid's recurrence adds up in chunks, which begin elsewhere in a tree."""
    return 1e-3 if kind.startswith("hybrid") else 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_the_tree_is_one_sequence_at_a_time(kind: str, case: str):
    assert_exact(KINDS[kind](), *CASES[case], tolerance_of(kind))


@pytest.mark.parametrize("kind", RELATIVES)
def test_relatives_are_one_sequence_at_a_time(kind: str):
    assert_exact(RELATIVES[kind](), *CASES["pivots and others"], tolerance_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_path_is_one_sequence_at_a_time(kind: str):
    model = KINDS[kind]()
    expected, _ = one_by_one(model, PIVOTS, PIVOT_GROUPS, 0.7)
    actual = completion_logprobs(model, PIVOTS, PIVOT_GROUPS, 0.7, tree=False).logprobs
    assert relative(actual, expected) < tolerance_of(kind)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "gemma3", "qwen3_moe"])
def test_gathered_keys_are_one_sequence_at_a_time(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(policy, "TreePlan", lambda row, device: TreePlan(row, device, kernel="expand"))
    assert_exact(KINDS[kind](), PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_layers(kind: str):
    model = KINDS[kind]()
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # renamed in 5.24
    assert plain_reason(model.train()) is None
    assert_exact(model, PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED, tolerance_of(kind))


@pytest.mark.parametrize("attach", range(5, 13))
def test_leaves_around_the_edge_of_a_window(attach: int):
    # A window of eight: the last leaf tokens no longer see the prompt, or only its end, or the prompt is shorter.
    prompts = [TRUNK[:20], TRUNK[: 20 + attach], TRUNK[:attach]]
    assert_exact(tiny("mistral", sliding_window=8), prompts, [tokens(9, 2), tokens(7, 8, 10), tokens(1, 24)])


@pytest.mark.parametrize("window", [2, 7, 44, 45, 200])
def test_windows_of_any_size(window: int):
    assert_exact(tiny("mistral", sliding_window=window), PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED)


def test_lora():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    for kind in ("qwen3", "gemma3", "hybrid"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's, about the tiny vocabulary's tied head
            model = peft.get_peft_model(KINDS[kind](), config)
        assert plain_reason(model) is None
        assert_exact(model, PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED, tolerance_of(kind))


def test_the_model_samples_as_before_once_it_has_seen_a_tree():
    for kind in ("qwen3", "gemma3", "hybrid"):
        model = KINDS[kind]()
        batch = torch.tensor([PROMPTS[0], [0, 0, *PROMPTS[0][:15]]])
        mask = (batch != 0).long()
        before = model(batch, attention_mask=mask).logits
        completion_logprobs(model, PROMPTS, RAGGED)
        assert torch.equal(model(batch, attention_mask=mask).logits, before)
        assert "attn_implementation" not in str(model.config.to_dict())


def test_a_copied_model_scores_with_its_own_weights():
    model = KINDS["hybrid"]()
    completion_logprobs(model, PROMPTS, RAGGED)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    assert_exact(other, PROMPTS, RAGGED, 1e-3)


def test_head_in_chunks_is_the_head_at_once(monkeypatch: pytest.MonkeyPatch):
    model = tiny("qwen3", torch.float64)
    whole = completion_logprobs(model, PROMPTS, EQUAL)
    whole_gradients = gradients(model, whole.logprobs)
    monkeypatch.setattr(policy, "HEAD_ELEMENTS", 61 * 5)
    chunked = completion_logprobs(model, PROMPTS, EQUAL)
    torch.testing.assert_close(chunked.logprobs, whole.logprobs)
    torch.testing.assert_close(chunked.entropies, whole.entropies)
    torch.testing.assert_close(gradients(model, chunked.logprobs), whole_gradients)


def test_only_completion_positions_reach_the_head():
    model = tiny("qwen3")
    seen: list[int] = []
    model.lm_head.register_forward_hook(lambda _head, inputs, _output: seen.append(inputs[0].shape[0]))
    scores = completion_logprobs(model, PROMPTS, EQUAL)
    assert seen == [len(scores.logprobs)]


def test_a_trunk_and_its_leaves_are_computed_once():
    model = tiny("qwen3")
    seen: list[tuple[int, ...]] = []
    model.model.embed_tokens.register_forward_hook(lambda _layer, inputs, _output: seen.append(tuple(inputs[0].shape)))
    completion_logprobs(model, [TRUNK, TRUNK[:21]], [tokens(5, 3), tokens(1, 7)])
    assert seen == [(1, 44 + 4 + 2 + 0 + 6)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_the_gpu_kernel(kind: str):
    model = KINDS[kind]().cuda()
    plain = completion_logprobs(model, PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED, tree=False).logprobs
    plain_gradients = gradients(model, plain)
    shared = completion_logprobs(model, PIVOTS + PROMPTS, PIVOT_GROUPS + RAGGED, tree=True).logprobs
    assert relative(shared, plain) < 1e-3
    shared_gradients = gradients(model, shared)
    for name, expected in plain_gradients.items():
        assert relative(shared_gradients[name], expected) < 1e-3, name


def test_every_device_without_a_kernel_gathers_keys():
    row = policy.build_tree(PROMPTS, RAGGED)
    assert TreePlan(row, torch.device("cpu")).kernel == "cpu"
    assert TreePlan(row, torch.device("meta")).kernel == "expand"
    assert set(cascade._KERNELS) == {"cpu", "cuda"}


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_what_autograd_keeps_shrinks_with_the_positions(kind: str):
    model = KINDS[kind]()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    prompts, completions = tokens(200), [tokens(*[5] * 6)]
    kept: dict[bool, dict[int, int]] = {True: {}, False: {}}
    for tree in (True, False):

        def pack(tensor: Tensor, storages: dict[int, int] = kept[tree]) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            graph = completion_logprobs(model, prompts, completions, tree=tree)
        del graph
    # 200 + 6*4 positions against 6 * (200 + 5); neither a mask of the row nor copies of keys fit into the tenth.
    assert sum(kept[True].values()) < 1.1 * 224 / 1230 * sum(kept[False].values())


def test_bfloat16_scores_come_in_float32():
    scores = completion_logprobs(tiny("qwen3", torch.bfloat16), PROMPTS, EQUAL)
    assert scores.logprobs.dtype == scores.entropies.dtype == torch.float32


@pytest.mark.parametrize("broken", [([], []), ([[]], [[[1]]]), ([[1]], [[[]]]), ([[1]], [[]])])
def test_nothing_to_score(broken: tuple[list[list[int]], Groups]):
    with pytest.raises(ValueError, match="nothing to score"):
        completion_logprobs(tiny("qwen3"), *broken)


def test_every_model_on_the_list_is_tested():
    models = [make() for make in [*KINDS.values(), *RELATIVES.values()]]
    assert {model.config.model_type for model in models} == TREE_MODELS
    assert [plain_reason(model) for model in models] == [None] * len(models)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("granite", {}, "the layers of granite are not among those that a prefix tree knows"),
        ("gemma3_text", {"final_logit_softcapping": 4.0}, "the head scales its logits: final_logit_softcapping"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "the attention is bidirectional"),
    ],
)
def test_everything_else_is_plain(kind: str, changes: dict[str, object], reason: str):
    assert plain_reason(tiny(kind, **changes)) == reason


def test_an_unknown_model_is_still_scored_right():
    model = tiny("granite", torch.float64, logits_scaling=4.0)
    expected, _ = one_by_one(model, PROMPTS, RAGGED, 1.0)
    assert relative(completion_logprobs(model, PROMPTS, RAGGED).logprobs, expected) < 1e-13


def test_dropout_is_plain_only_while_it_is_on():
    model = tiny("qwen3", attention_dropout=0.1)
    assert plain_reason(model) is None
    assert plain_reason(model.train()) == "attention dropout is on"
    with pytest.raises(ValueError, match="dropout"):
        completion_logprobs(model, PROMPTS, RAGGED, tree=True)
