"""Benchmarks: one module per question. Measurements, plots and tables are in `results`."""
