"""`train`: pivots -> model.

run                       opens everything, trains, writes the model
loop                      the steps, the checkpoints, the reasons to stop
grpo, sft (method)        one step of each method; the updates themselves are `learn.grpo` and `learn.sft`
groups                    the groups of a step: dynamic sampling, advantages, the batch
rollouts, penalties       rollouts at pivots or of whole episodes, with their rewards
pivot_order, curriculum   which rows a step draws; which are retired
state, shards             model and optimizer, and their checkpoints
run_folder, launch        the output while it grows; several ranks
layout, loggers, model_card, summary, stopwatch
"""
