"""`filter`: profile -> pivots.

run      reads, decides, writes
rules    which rows vary and have a mean below lambda: the paper's rule and the posterior one
limits   how many of them are kept, and per what
draws    reproducible random numbers per row
columns  conditions and columns of a profile
where    the language of `--where`
funnel   the table of what was kept and dropped
"""
