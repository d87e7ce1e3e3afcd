"""Advantages, losses, token log-probabilities and the optimiser step: tensors only, no files, no rows, no stages.

Axes, used as suffixes where a shape would not be obvious:

    P   prompts (pivots) of a batch
    G   rollouts of one prompt; may differ between prompts
    N   rollouts of a batch, prompt by prompt
    T   completion tokens of a batch, rollout by rollout, flat
    C   positions of the longest completion
    L   places of a packed row
    V   vocabulary
"""
