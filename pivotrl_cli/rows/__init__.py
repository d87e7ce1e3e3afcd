"""The rows of every table: one frozen model per Parquet row, the contract that all stages share.

Types are chosen so that a Parquet schema follows from them without looking at data. `arguments` and `tools` stay JSON
text: as structs, Polars would invent null keys wherever two tools take different arguments.
"""

from __future__ import annotations

from pivotrl_cli.rows.candidates import Candidate, Fault, Reject, RejectReason, Trajectory
from pivotrl_cli.rows.evaluation import EvalResult
from pivotrl_cli.rows.messages import Message, Row, ToolCall
from pivotrl_cli.rows.profiles import Dropped, DropReason, Pivot, Profile, ProfileStatus, Rollout
from pivotrl_cli.rows.summaries import Summary, SummaryPart
from pivotrl_cli.rows.training import StepMetrics, TrainRollout

__all__ = [
    "Candidate",
    "DropReason",
    "Dropped",
    "EvalResult",
    "Fault",
    "Message",
    "Pivot",
    "Profile",
    "ProfileStatus",
    "Reject",
    "RejectReason",
    "Rollout",
    "Row",
    "StepMetrics",
    "Summary",
    "SummaryPart",
    "ToolCall",
    "TrainRollout",
    "Trajectory",
]
