"""`profile`: candidates -> profile. `merge` puts its shards together.

run           opens everything, writes the table
sampler       rollouts of a window of candidates: sample, verify, record
windows       which candidates make a window and a shard
adaptive      how many rollouts a candidate gets, from its rewards so far
statistics    the columns that the rollouts become
meter         progress, retries and the error limit
ray_executor  windows on the workers of a Ray cluster
"""
