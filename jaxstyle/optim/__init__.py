"""Optimizers as optax transforms that know no objective."""
