"""`extract`: trajectories -> candidates.

run               reads, splits into turns, writes candidates and rejects
turns             the turns of one trajectory as candidates
counts            where every record and turn went
hygiene, overlap  duplicates and contamination
recorded_rewards  rewards that the rows record, as a profile
"""
