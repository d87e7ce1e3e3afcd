"""`harness`: plans and runs other evaluation harnesses, each in its own environment."""
