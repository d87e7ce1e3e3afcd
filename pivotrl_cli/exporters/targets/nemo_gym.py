"""NeMo Gym 0.7: a file of pivot rows for each server, and `config.yaml` with these servers and their agents.

A row has the prompt as items of the Responses API, the tools in its flat form, the demonstrated action and the agent
whose server scores it, by the verifier of the candidate. Files are apart because `gym dataset collate` gives all rows
of a file to the agent that declares it.

    swe, swe_*                                 swe_pivot, which takes single calls alone
    terminal, terminus_*, Terminus messages    terminus_judge (`expected_answer`), by string similarity
    terminal, terminal_compat, other actions   terminal_multi_harness
    any other                                  single_step_tool_use_with_argument_comparison

Gym wants `strict` and `parameters` on every tool: false and no parameter where a schema has neither. It has no place
for the name of a tool on a reply (that of the call it answers), nor for text and reasoning beside a demonstrated call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TextIO

from pivotrl_cli.exporters.destination import Destination, ExportCounts
from pivotrl_cli.exporters.gym_rows import write_back
from pivotrl_cli.exporters.messages import CALL_IDS, NAMES, json_line, loses_names, pass_rate, with_call_ids
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers.compare.terminus import guess_harness, json_object, spoken_text
from pivotrl_cli.verifiers.nvidia.hints import hint, is_batch, number_hint

_SINGLE_STEP = "single_step_tool_use_with_argument_comparison"
_SEARCH = "search_pivot_single_step_tool_use_with_argument_comparison"
_SWE, _TERMINUS, _HARNESS = "swe_pivot", "terminus_judge", "terminal_multi_harness"

_COUNTED = {
    "parallel_tool_call_rewarding": True,
    "allow_subset": True,
    "allow_superset": True,
    "parallel_tool_call_reward_mode": "f1",
}
"""Missing and surplus calls both cost, as they do for our verifiers; by default Gym does not count calls."""

_SERVERS: dict[str, tuple[str, dict[str, Any]]] = {
    _SINGLE_STEP: (_SINGLE_STEP, {"tool_call_comparator_config": {"word_count_similarity_threshold": 0.1, **_COUNTED}}),
    _SEARCH: (_SINGLE_STEP, {"tool_call_comparator_config": {"word_count_similarity_threshold": 0.3, **_COUNTED}}),
    _SWE: (_SWE, {"reward_mode": "binary"}),
    _TERMINUS: (
        _TERMINUS,
        {"enable_string_similarity": True, "string_similarity_threshold": 0.9, "enable_llm_judge": False},
    ),
    _HARNESS: (_HARNESS, {"tool_call_comparator_config": {"string_similarity_threshold": 0.9}}),
}
"""Server -> Gym's resources server that it is an instance of, and its options."""


class NemoGymExporter:
    """A file of rows per server, and `config.yaml`."""

    renders = False
    writes_back = True

    def write(self, rows: Iterator[Candidate], to: Destination) -> None:
        if to.sources:
            write_back(rows, to.sources, to)
            return
        with ExitStack() as stack:
            files: dict[str, TextIO] = {}
            for candidate in rows:
                server = _server(candidate)
                problem = _problem(candidate, server)
                if problem:
                    to.counts.leave_out(candidate.candidate_id, problem)
                    continue
                if server not in files:
                    path = to.folder / f"{server}.jsonl"
                    files[server] = stack.enter_context(path.open("w", encoding="utf-8"))
                files[server].write(json_line(_row(candidate, server, to.counts)))
                to.counts.n_rows += 1
        (to.folder / "config.yaml").write_text(_yaml(_config(sorted(files))))


def _server(candidate: Candidate) -> str:
    verifier = candidate.verifier.partition("+")[0]
    if verifier.startswith("swe"):
        return _SWE
    if verifier.startswith("termin"):
        spoken = candidate.expected_action.content if not candidate.expected_action.tool_calls else ""
        return _TERMINUS if verifier == "terminus_compat" or guess_harness(spoken) else _HARNESS
    return _SEARCH if verifier == "search" else _SINGLE_STEP


def _problem(candidate: Candidate, server: str) -> str | None:
    """Why Gym's contract allows no row for the candidate; None where it does."""
    action = candidate.expected_action
    declared = {tool["function"]["name"] for tool in json.loads(candidate.tools)}
    if not candidate.state:
        return "nothing stands before the action"
    if not action.tool_calls:
        return "swe_pivot scores no message" if server == _SWE else None
    if server == _SWE and len(action.tool_calls) > 1:
        return "swe_pivot scores no batch of calls"
    if any(json_object(call.arguments) is None for call in action.tool_calls):
        return "the demonstrated arguments are not a JSON object"
    if declared and any(call.name not in declared for call in action.tool_calls):
        return "the demonstrated tool is not declared"
    return None


def _row(candidate: Candidate, server: str, counts: ExportCounts) -> dict[str, Any]:
    messages = list(with_call_ids(candidate.state))
    _note_losses(candidate, messages, counts)
    functions = [tool["function"] for tool in json.loads(candidate.tools)]
    needed = {"parameters": {"type": "object", "properties": {}}, "strict": False}
    tools = [{"type": "function", **f, **{key: needed[key] for key in needed if key not in f}} for f in functions]
    several = is_batch(candidate) or any(len(message.tool_calls) > 1 for message in messages)
    params = {"input": _items(messages), "tools": tools, "tool_choice": "auto", "parallel_tool_calls": several}
    return {
        "uuid": candidate.candidate_id,
        "trajectory_id": candidate.trajectory_id,
        **({"task_name": candidate.task_id} if candidate.task_id else {}),
        **({"environment_name": candidate.domain} if candidate.domain else {}),
        "responses_create_params": params,
        **_expected_fields(candidate, server),
        "agent_ref": {"type": "responses_api_agents", "name": f"{server}_agent"},
        "task_source": f"{server}_agent",
        "info": {"turn": candidate.turn, "n_turns": candidate.n_turns, "verifier": candidate.verifier},
        **pass_rate(candidate),
    }


def _note_losses(candidate: Candidate, messages: list[Message], counts: ExportCounts) -> None:
    action = candidate.expected_action
    if messages != candidate.state:
        counts.note_loss(candidate, CALL_IDS)
    if loses_names(messages):
        counts.note_loss(candidate, NAMES)
    if action.reasoning:
        counts.note_loss(candidate, "reasoning of the demonstrated action")
    if action.tool_calls and action.content:
        counts.note_loss(candidate, "text beside the demonstrated call")


def _expected_fields(candidate: Candidate, server: str) -> dict[str, Any]:
    """The demonstrated action, with the fields that its server reads beside it."""
    action, harness = candidate.expected_action, hint(candidate, "harness")
    threshold = number_hint(candidate, "threshold")
    own = {} if threshold is None else {"threshold": threshold}
    if server == _TERMINUS:
        named = harness or guess_harness(action.content) or "terminus_2"
        return {"expected_answer": spoken_text(action.content), "metadata": {"harness": named}, **own}
    calls = [
        {"type": "function_call", "name": call.name, "arguments": call.arguments}
        | ({"call_id": call.id} if call.id else {})
        for call in action.tool_calls
    ]
    if is_batch(candidate):
        expected: dict[str, Any] = {"type": "function_call_batch", "calls": calls}
    else:
        expected = calls[0] if calls else {"type": "message", "content": action.content}
    if server == _HARNESS:
        return {"expected_action": expected, "harness": harness if isinstance(harness, str) else "generic", **own}
    return {"expected_action": expected}


def _items(messages: list[Message]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for i, message in enumerate(messages):
        match message.role:
            case "assistant":
                follows = i > 0 and messages[i - 1].role == "assistant"
                items += _assistant_items(message, i, apart=follows)
            case "tool":
                items.append(
                    {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
                )
            case _:
                items.append({"type": "message", "role": message.role, "content": message.content})
    return items


def _assistant_items(message: Message, i: int, *, apart: bool) -> Iterator[dict[str, Any]]:
    """Reasoning, text and calls of one message; an empty text keeps calls `apart` from a message before them."""
    if message.reasoning:
        thought = [{"type": "summary_text", "text": message.reasoning}]
        yield {"type": "reasoning", "id": f"rs_{i}", "summary": thought, "encrypted_content": None}
    if message.content or not message.tool_calls or apart:
        text = [{"type": "output_text", "text": message.content, "annotations": []}]
        yield {"type": "message", "role": "assistant", "id": f"msg_{i}", "status": "completed", "content": text}
    for call in message.tool_calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _config(servers: list[str]) -> dict[str, Any]:
    """A resources server, an agent with the rows, and the environment server through which 0.7 reaches it, for each."""
    config: dict[str, Any] = {}
    for server in servers:
        kind, options = _SERVERS[server]
        resources = {"entrypoint": "app.py", "domain": "agent", "verified": False, **options}
        config[f"{server}_resources_server"] = {"resources_servers": {kind: resources}}
        data = {"name": "train", "type": "train", "jsonl_fpath": f"{server}.jsonl", "num_repeats": 1, "license": "TBD"}
        agent = {
            "entrypoint": "app.py",
            "resources_server": {"type": "resources_servers", "name": f"{server}_resources_server"},
            "model_server": {"type": "responses_api_models", "name": "policy_model"},
            "datasets": [data],
        }
        config[f"{server}_agent"] = {"responses_api_agents": {"tool_simulation_agent": agent}}
        relay = {
            "entrypoint": "app.py",
            "agent_server": {"type": "responses_api_agents", "name": f"{server}_agent"},
        }
        config[f"{server}_environment_server"] = {"environment_servers": {"legacy_agent": relay}}
    return config


def _yaml(value: dict[str, Any], indent: str = "") -> str:
    """Nested objects in block form, anything else as JSON, which YAML contains."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{indent}{key}:\n{_yaml(item, indent + '  ')}")
        else:
            lines.append(f"{indent}{key}: {json.dumps(item)}\n")
    return "".join(lines)
