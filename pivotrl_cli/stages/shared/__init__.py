"""What several commands need.

scoring      where a reward is made
judge        the judge that verifiers ask, and its budget
episodes     episodes played turn by turn
model_check  is this profile of this model?
"""
