"""Coding tools: the same tool has another name, and the same argument another key, in every harness.

The names and keys are those that NVIDIA's `swe_pivot` knows (OpenHands, OpenCode, Codex and variations of them); names
in any case and with or without underscores.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a coding tool is for."""

    EDIT = "edit"
    """Views or changes a file."""
    BASH = "bash"
    """Runs a command."""
    SEARCH = "search"
    """Looks for files or text."""
    READ = "read"
    """Reads a file."""
    PLANNING = "planning"
    """Keeps a list of things to do."""
    FINISH = "finish"
    """Ends the task."""
    THINK = "think"
    """Writes a thought down."""
    UNKNOWN = "unknown"
    """Anything else; such tools are alike only by name."""


_NAMES = {
    Kind.EDIT: "apply_changes apply_diff apply_patch code_editor create_file edit edit_file file_edit file_editor "
    "modify modify_file patch_file save_file str_replace_editor text_editor update_file write write_file",
    Kind.BASH: "bash bash_exec exec_cmd exec_command execute_bash run_bash run_shell_cmd shell shell_cmd "
    "shell_command shell_run terminal",
    Kind.SEARCH: "code_search file_glob find_files find_in_files find_pattern glob grep grep_files list_dir "
    "list_directory ls ls_dir match_files search_files search_text show_dir text_search",
    Kind.READ: "cat_file file_view inspect read read_file read_file_content show_file view view_file",
    Kind.PLANNING: "edit_plan list_tasks modify_plan plan_tracker read_todos task_tracker todo_read todo_tracker "
    "todo_write update_plan update_tasks write_todos",
    Kind.FINISH: "finish submit",
    Kind.THINK: "think",
}
_KINDS = {
    spelling: kind
    for kind, names in _NAMES.items()
    for name in names.split()
    for spelling in (name, name.replace("_", ""))
}


def kind_of(name: str) -> Kind:
    return _KINDS.get(name.lower(), Kind.UNKNOWN)


def same_tool(left: str, right: str) -> bool:
    """Same name in any case, or same known kind."""
    kind = kind_of(left)
    return left.lower() == right.lower() or (kind == kind_of(right) and kind != Kind.UNKNOWN)


COMMAND_KEYS = ("command", "cmd", "script")
"""Where a shell tool has its command."""

PATTERN_KEYS = ("pattern", "query", "regex", "glob", "search_term", "text", "name")
"""Where a search has what it looks for."""

UNCOMPARED_KEYS = frozenset({"security_risk", "description", "timeout", "explanation", "justification", "thought"})
"""What says why a thing is done or how long it may take."""

_LOOKS_FOR_FILES = frozenset(
    "file_glob find_files glob match_files list_dir list_directory ls ls_dir show_dir".replace("_", "").split()
)


def same_work(left: str, right: str) -> bool:
    """The same tool, and of searches both for text or both for files."""
    searches = {name.lower().replace("_", "") in _LOOKS_FOR_FILES for name in (left, right)}
    return same_tool(left, right) and (len(searches) == 1 or kind_of(left) != Kind.SEARCH)


FULL_CREDIT = 0.8
"""Likeness of an edit or a command from which the whole reward is earned."""

HALF_CREDIT = 0.4
"""Likeness from which half of it is earned, in continuous mode."""


def credit_share(likeness: float, continuous: bool) -> float:
    """Share of the reward that a likeness earns, before any penalty."""
    if likeness >= FULL_CREDIT:
        return 1.0
    if not continuous or likeness < HALF_CREDIT:
        return 0.0
    return 0.5 + 0.5 * (likeness - HALF_CREDIT) / (FULL_CREDIT - HALF_CREDIT)


def text_under(arguments: dict[str, str], keys: tuple[str, ...]) -> str:
    """The text under the first of some keys that is there."""
    return next((arguments[key].strip() for key in keys if key in arguments), "")


def first_program(command: str) -> str:
    """The first word of a command without its folder."""
    return command.split(None, 1)[0].rsplit("/", 1)[-1] if command.strip() else ""
