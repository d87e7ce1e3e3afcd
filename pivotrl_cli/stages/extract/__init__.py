"""`extract`: trajectories -> candidates.

run               the command: inputs, outputs, provenance
extraction        one pass over the sources
turns             the turns of one trajectory as candidates
supplied          `--system` and `--tools`
verifier_choice   the verifier of a turn
hygiene, overlap  duplicates and contamination
recorded_rewards  rewards that the rows record, as a profile
counts, summary   where every record and turn went, and how that is printed
"""
