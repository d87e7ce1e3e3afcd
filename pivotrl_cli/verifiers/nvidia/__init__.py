"""NVIDIA's published verifiers, reproduced rule by rule (the `*_compat` verifiers), and what only they need."""
