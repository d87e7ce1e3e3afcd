"""The commands, in pipeline order. A command that is more than one file is a folder whose door is `run.run(config)`.

extract/   trajectories -> candidates: one row per assistant turn
profile/   candidates -> profile: K rollouts at every candidate, each scored; merge puts shards together
filter/    profile -> pivots: the rows with reward variance and a mean below lambda
train/     pivots -> model: GRPO on the pivots; SFT and whole episodes as baselines
eval/      model -> scores on benchmarks
compare/   evaluations side by side
doctor/    what works on this machine; what was understood of a model
score/     recorded rollouts scored again; audit of verifiers
inspect/   a table in the terminal
harness/   other evaluation harnesses; import_eval reads their results
export     pivots for another trainer
desk       expert trajectories of the embedded world
shared/    what several commands need: scoring, the judge, episodes, the check that a profile fits the model
"""
