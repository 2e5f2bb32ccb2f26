"""Benchmarks: one module per question. Measurements, plots and tables are in `results`."""

from pathlib import Path

# The photo and the painting of the demo, as files: nothing may be imported to list the benchmarks.
DATA = Path(__file__).parent.parent / "jaxstyle" / "data"
