"""Measurements: one file a question; figures in results/*.json, plots beside them."""
