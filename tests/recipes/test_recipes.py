from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from filtering import ids, profiled, run

from pivotrl_cli.configs import TrainConfig

FILTER = "nvidia-production-filter"
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


def loaded(name: str) -> TrainConfig:
    path = next(path for path in RECIPES if path.stem == name)
    return TrainConfig.model_validate({"pivots": "p", "output": "o", **tomllib.loads(path.read_text())}, strict=True)


@pytest.mark.parametrize("name", [path.stem for path in RECIPES if path.stem != FILTER])
def test_every_recipe_is_a_config(name):
    assert loaded(name).method == "grpo"


def test_the_published_numbers():
    def batch(config: TrainConfig) -> tuple[int, int, float, float, float, float | None]:
        shape = (config.prompts_per_step, config.group_size)
        return (*shape, config.learning_rate, config.kl_coef, config.clip_high, config.importance_cap)

    assert batch(loaded("nvidia-conversational")) == (64, 16, 1e-6, 0.0, 0.2, None)
    assert batch(loaded("nvidia-swe-stage1")) == (64, 16, 1e-6, 0.0, 0.28, 5.0)
    assert batch(loaded("paper"))[:2] == (64, 16)
    swe = loaded("nvidia-swe-stage1")
    assert (swe.invalid_tool_call_advantage, swe.malformed_thinking_advantage) == (-5.0, -5.0)


def test_nvidias_filter_keeps_two_to_twelve_passes_of_sixteen_and_three_pivots_per_trajectory(tmp_path):
    settings = tomllib.loads(next(path for path in RECIPES if path.stem == FILTER).read_text())
    by_passes = [profiled(f"{n}-0", "1" * n + "0" * (16 - n)) for n in range(17)]
    one_trajectory = [profiled(f"t-{i}", "1" * 8 + "0" * 8) for i in range(5)]
    found = ids(run(tmp_path, [*by_passes, *one_trajectory], **settings)[0])
    assert [name for name in found if name[0] != "t"] == [f"{n}-0" for n in range(2, 13)]
    assert sum(name[0] == "t" for name in found) == 3


def test_the_desk_recipe_is_the_demo():
    settings = dict(
        line.replace("?=", "=").split("=", 1)
        for line in (RECIPES[0].parent / "demo.mk").read_text().splitlines()
        if "?=" in line
    )
    demo = {key.strip(): value.strip() for key, value in settings.items()}
    config = loaded("desk")
    assert (config.steps, config.prompts_per_step, config.group_size) == tuple(
        int(demo[key]) for key in ("STEPS", "PROMPTS", "GROUP")
    )
    assert (config.learning_rate, config.kl_coef) == (float(demo["LR"]), float(demo["KL"]))
    assert config.max_new_tokens == int(demo["MAX_NEW"])
