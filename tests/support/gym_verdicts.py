"""Verdicts of NeMo Gym's own servers, for `tests/data/gym/verdicts.jsonl`; runs where nemo-gym is installed.

    PYTHONPATH=SITE_PACKAGES python tests/support/gym_verdicts.py < verdicts.jsonl > again.jsonl

Each line has `server`, the server's `config` beside its defaults, the `row` and the `output` of the model. This sets
the reward and the code under the installed release: `"0.7": [0.0, "target_mismatch"]`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from typing import Any
from unittest.mock import MagicMock

CODES = ("failure_reason", "category")
COMPARATOR = "tool_call_comparator_config"
RESPONSE = {
    **{"id": "r", "created_at": 0, "model": "m", "object": "response", "tools": [], "tool_choice": "auto"},
    "parallel_tool_calls": True,
}


def verdict(case: dict[str, Any]) -> list[Any]:
    """Reward and code, which xlam_fc does not have."""
    from nemo_gym.server_utils import ServerClient

    app = importlib.import_module(f"resources_servers.{case['server']}.app")
    (name,) = (name for name in dir(app) if name.endswith("ResourcesServer") and name != "SimpleResourcesServer")
    server_class = getattr(app, name)
    config_class = server_class.model_fields["config"].annotation
    place = {"host": "127.0.0.1", "port": 1, "entrypoint": "app.py", "name": case["server"], "domain": "agent"}
    server = server_class(config=config_class(**place, **case["config"]), server_client=MagicMock(spec=ServerClient))
    request_class = server_class.verify.__annotations__["body"]
    body = request_class.model_validate(
        {
            "responses_create_params": {"input": "hello"},
            **case["row"],
            "response": RESPONSE | {"output": case["output"]},
        }
    )
    found = asyncio.run(server.verify(body))
    code = next((one for key in CODES if (one := getattr(found, key, None)) is not None), None)
    return [found.reward, None if code is None else code.name.lower()]


if __name__ == "__main__":
    import nemo_gym

    logging.disable()
    release = ".".join(nemo_gym.__version__.split(".")[:2])
    for line in sys.stdin:
        case = json.loads(line)
        print(json.dumps(case | {release: verdict(case)}, ensure_ascii=False))
