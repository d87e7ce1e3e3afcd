"""Doctor: what works on this machine, or what was understood of a model.

run      prints the findings
machine  looks at the installation
model    looks at a model: format, layers, training, memory
finding  one line of the answer
"""
