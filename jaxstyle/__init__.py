"""Neural style transfer (Gatys, Ecker and Bethge, CVPR 2016) as pure JAX functions.

`python -c "import jaxstyle; help(jaxstyle.stylize)"` is the place to start; README.md shows both ways in.
"""

from jaxstyle.evaluate import value_and_grad
from jaxstyle.objective import LossWeights, Objective, make_targets
from jaxstyle.optimizers import adam, lbfgs
from jaxstyle.presets import preset
from jaxstyle.step import init, step
from jaxstyle.weights import load_params
