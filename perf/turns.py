"""Prefix cache between turns: CPU time of rounds of desk episodes, with and without it.

    python -m perf.turns [--episodes 64] [--turns 12] [--rounds 3]

All episodes act at once, a turn at a time, as in `eval` and `train --method e2e`; their conversations are those of the
agent with habits, so both ways sample at the same states. `saved` is the CPU time without the cache over the time
with it, in alternating pairs; `same` is the share of turns at which both sample the same tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time

from pivotrl_cli.configs import EngineConfig
from pivotrl_cli.engines import Engine, Request, Sampling, each_group, open_engine
from pivotrl_cli.environments import desk
from pivotrl_cli.environments.desk.world import TOOLS
from pivotrl_cli.rows import Message
from recipes.desk_habits import converse

Tokens = dict[str, list[int]]


def play(engine: Engine, conversations: list[list[Message]], turns: int, *, keep: bool) -> tuple[float, Tokens]:
    """CPU seconds of sampling at every turn, and the tokens sampled."""
    began, found = time.process_time(), {}
    for turn in range(turns):
        requests = []
        for i, messages in enumerate(conversations):
            at = [j for j, message in enumerate(messages) if message.role == "assistant"]
            if turn < len(at):
                requests.append(Request(key=f"{i}/{turn}", state=messages[: at[turn]], tools=TOOLS))
        sampling = Sampling(max_new_tokens=64, prefix_cache=("continue" if turn else "start") if keep else "off")
        for group in each_group(engine, requests, sampling):
            found[group.request.key] = group.completions[0].token_ids
    return time.process_time() - began, found


def main() -> None:
    """Print each pair's ratio, and their median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    engine = open_engine(EngineConfig.model_validate({"model": "desk", "engine": "hf", "device": "cpu"}))
    tasks = desk.tasks("train", options.episodes, 0, 12)
    conversations = [converse(task, 0)[0] for task in tasks]
    ratios, alike = [], []
    for round_ in range(options.rounds):
        order = (True, False) if round_ % 2 else (False, True)
        taken = {keep: play(engine, conversations, options.turns, keep=keep) for keep in order}
        ratios.append(taken[False][0] / taken[True][0])
        alike.append(statistics.mean(taken[False][1][key] == tokens for key, tokens in taken[True][1].items()))
        print(f"round {round_ + 1}: saved {ratios[-1]:.2f} x", flush=True)
    print(f"median: saved {statistics.median(ratios):.2f} x, same {statistics.mean(alike):.4f}")


if __name__ == "__main__":
    main()
