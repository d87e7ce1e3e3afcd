"""Doctor: what works on this machine, or with a model named, what was understood of it."""

from __future__ import annotations

import json
from dataclasses import asdict

from pivotrl_cli.configs import DoctorConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.stages.doctor.machine import examine


def run(config: DoctorConfig) -> None:
    """Print the findings; raises where something is broken."""
    if not config.model and (config.chat_template or config.response_template):
        raise ConfigError("--chat-template and --response-template are of a model", "name it: pivotrl doctor MODEL")
    if config.model:
        from pivotrl_cli.stages.doctor.model import examine_model

        findings = list(examine_model(config))
    else:
        findings = list(examine())
    if config.json_summary:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        print(*(finding.lines() for finding in findings), sep="\n")
    broken = [finding for finding in findings if finding.state == "broken"]
    if broken and config.model:
        raise InputError(broken[0].found, broken[0].hint)
    if broken:
        raise RunError(f"broken: {', '.join(f.name for f in broken)}", broken[0].hint)
