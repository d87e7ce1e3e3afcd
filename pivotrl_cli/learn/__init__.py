"""The algorithms: tensors only, no files, no rows, no stages.

grpo, sft               one update of each method, the formulas in order
advantage, loss         the mathematics and its variants in the literature
batch, pack             batches, and micro-batches under a token budget
optimizer, lora         AdamW with float32 master weights; adapters
memory                  bytes of training and sampling, by formula
policy                  log-probabilities of sampled tokens, by one of two paths
tree, cascade, hybrid   prefix trees: the packed row, its attention, its linear attention
self_check              do the two paths agree for this model?
distributed, ulysses    FSDP and collectives; sequence parallelism

Axes, used as suffixes where a shape would not be obvious:

    P   prompts (pivots) of a batch
    G   rollouts of one prompt; may differ between prompts
    N   rollouts of a batch, prompt by prompt
    T   completion tokens of a batch, rollout by rollout, flat
    C   positions of the longest completion
    L   places of a packed row
    V   vocabulary
"""
