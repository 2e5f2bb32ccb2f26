"""Minimization: the state, one step, the loop, and checkpoints."""
