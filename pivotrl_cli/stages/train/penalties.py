"""Penalties for turns in the wrong form, as in NVIDIA's recipes.

A penalty is no reward: it takes the place of the advantage of all tokens of the turn, whatever the rewards of the group
are (`invalid_tool_call_advantage` and `malformed_thinking_advantage` of NeMo RL, -5 in its SWE recipes). An invalid
tool call is a call's tag that parsing left in the text; malformed thinking is a reasoning tag in the answer, or more
than one of a kind in the reasoning. A turn with both has the penalty for thinking.
"""

from __future__ import annotations

from pivotrl_cli.configs import TrainConfig
from pivotrl_cli.engines import Completion
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.model.formats.notation import Format

CALL_TAGS = ("<tool_call>", "</tool_call>", "<function_call>", "</function_call>")
THINKING_TAGS = ("<think>", "</think>")


def check_format(form: Format, config: TrainConfig) -> None:
    """Raise ConfigError for a penalty whose tags the model does not write: it would never apply."""
    marks = " ".join([form.open, *(form.section or ())])
    if config.invalid_tool_call_advantage is not None and not any(tag in marks for tag in CALL_TAGS):
        raise ConfigError(
            f"--invalid-tool-call-advantage looks for {CALL_TAGS[0]}, and {config.model} writes calls as {form.name}",
            "leave it out",
        )
    if config.malformed_thinking_advantage is not None and form.reasoning != THINKING_TAGS:
        raise ConfigError(
            f"--malformed-thinking-advantage looks for {THINKING_TAGS[0]}, which {config.model} does not write",
            "leave it out",
        )


def penalty(completion: Completion, config: TrainConfig) -> float | None:
    """The advantage that replaces the turn's own; null for a well-formed turn."""
    reasoning, answer = _parts(completion)
    if config.malformed_thinking_advantage is not None and has_malformed_thinking(reasoning, answer):
        return config.malformed_thinking_advantage
    if config.invalid_tool_call_advantage is not None and has_invalid_tool_call(reasoning, answer):
        return config.invalid_tool_call_advantage
    return None


def has_invalid_tool_call(reasoning: str, answer: str) -> bool:
    return any(tag in reasoning or tag in answer for tag in CALL_TAGS)


def has_malformed_thinking(reasoning: str, answer: str) -> bool:
    return any(tag in answer or reasoning.count(tag) > 1 for tag in THINKING_TAGS)


def _parts(completion: Completion) -> tuple[str, str]:
    """Reasoning and answer; of a text that cannot be parsed, the parts before and after the end of the reasoning."""
    if completion.action is not None:
        return completion.action.reasoning or "", completion.action.content
    reasoning, end, answer = completion.text.partition("</think>")
    return (reasoning, answer) if end else ("", reasoning)
