"""`compare`: evaluations side by side, paired by item.

run     reads the eval tables, prints, and fails on a regression
paired  the computation: means, paired differences, flips, missing items
table   the printed table, and Markdown
"""
