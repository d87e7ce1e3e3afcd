"""`train`: pivots -> model.

run                           opens everything, runs the steps, writes the model
grpo, sft                     a step of each method
groups, pivot_rollouts, episode_rollouts, penalties
                              sampled groups with their rewards and advantages
pivot_order, curriculum       which rows a step takes; which are retired
state, shards                 model, optimizer and checkpoint
run_folder, launch            the output while it grows; several processes
loggers, model_card, stopwatch
"""
