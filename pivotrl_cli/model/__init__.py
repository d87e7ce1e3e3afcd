"""Model folders: chat format, template faults, loading and saving.

chat             renders states and reads actions through the chat template
template_faults  checks what a chat template loses of a state
folder           finds, loads, saves and fingerprints model folders
"""
