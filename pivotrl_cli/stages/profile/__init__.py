"""`profile`: candidates -> profile. `merge` puts its shards together.

run           opens everything, appends each window to the table
sampler       for each window: sample a group, verify each, append; resume and retry
setup         what a run and every worker of Ray open       samples   rollouts of one candidate, journal keys
windows       candidates of a window and of a shard         adaptive  how many rollouts a candidate gets
statistics    the columns that the rollouts become          summary   counts over all candidates
meter         progress and the error rate
ray_executor  windows on the workers of a Ray cluster
"""
