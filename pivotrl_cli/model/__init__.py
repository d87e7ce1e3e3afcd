"""What a model folder says about how the model reads and writes.

chat             rendering states and reading actions through the chat template
template_faults  what a chat template loses of a state
folder           finding, loading, saving and fingerprinting model folders
"""
