"""`filter`: profile -> pivots.

run      reads, decides, writes
columns  the columns that the decision needs, and `--where`
rules    which rows vary and have a mean below lambda: the paper's rule and those on the posterior
limits   how many of them are kept, and per what
draws    reproducible random numbers per row
funnel   the summary: what was kept and dropped at each step
"""
