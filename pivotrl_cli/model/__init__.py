"""Model folders: chat format, template faults, loading and saving.

chat             renders states and reads actions through the chat template
target_check     checks that a demonstrated action can be written and read back
guard            keeps letters that spell a mark apart from its token
template_faults  checks what a chat template loses of a state
folder           finds, loads, saves and fingerprints model folders
"""
