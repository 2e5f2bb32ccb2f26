"""How the programs of the tests are compiled, here and in the processes that tests start.

Most of the tests' time is compiling, and a program runs a few times only, so LLVM takes it in one part and optimizes
nothing. XLA's own passes, and so shapes, collectives and memory, stay as they are. The emitters of fused loops take a
third of the compile time in jaxlib 0.10; later releases cannot switch them off.
"""

from importlib.metadata import version

FAST_COMPILE = " ".join(
    (
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
        *(("--xla_cpu_use_fusion_emitters=false",) if version("jaxlib").startswith("0.10.") else ()),
    )
)
