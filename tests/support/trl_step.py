"""One step of TRL's GRPOTrainer on an exported folder; prints what it did. Run by test_export.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import torch
from reward import reward_for
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from pivotrl_cli.model.folder import resolve

folder = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(resolve("desk"))
model = AutoModelForCausalLM.from_pretrained(resolve("desk"), dtype=torch.float32)
before = [weight.detach().clone() for weight in model.parameters()]
trainer = GRPOTrainer(
    model=model,
    reward_funcs=reward_for(tokenizer),
    train_dataset=datasets.load_from_disk(str(folder / "trl")),
    processing_class=tokenizer,
    args=GRPOConfig(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=16,
        num_generations=4,
        max_completion_length=96,
        max_steps=1,
        learning_rate=1e-4,
        temperature=1.5,
        beta=0.0,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        seed=0,
    ),
)
done = trainer.train()
told = {
    "steps": done.global_step,
    "reward": trainer.state.log_history[0]["reward"],
    "moved": max(float((a - b.detach()).abs().max()) for a, b in zip(before, model.parameters(), strict=True)),
}
print(json.dumps(told))
