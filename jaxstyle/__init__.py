"""Neural style transfer (Gatys, Ecker and Bethge, CVPR 2016) as pure JAX functions.

```python
import jaxstyle as js

content = js.load_image("photo.jpg", size=512)
style = js.load_image("painting.jpg", size=512)
result = js.stylize(content, style)
js.save_image("out.png", result.image)
```
"""

from jaxstyle import distributed as distributed
from jaxstyle.averaging import averaged
from jaxstyle.balance import balance
from jaxstyle.batch import stylize_batch
from jaxstyle.canvas import Canvas, on_canvas
from jaxstyle.descent import Status
from jaxstyle.errors import InputError
from jaxstyle.evaluate import value_and_grad
from jaxstyle.guides import Regions
from jaxstyle.image import resize, white_noise
from jaxstyle.io import load_image, read_recipe, save_image
from jaxstyle.losses import content_loss, gram_matrix, style_loss, total_variation
from jaxstyle.masks import regions_of
from jaxstyle.mesh import gather, make_mesh, on_mesh, replicated, spread
from jaxstyle.objective import Losses, LossWeights, Objective
from jaxstyle.optimizers import adam, lbfgs
from jaxstyle.presets import Preset, preset
from jaxstyle.result import BatchProgress, Progress, Result
from jaxstyle.resuming import Checkpoint
from jaxstyle.sheet import contact_sheet
from jaxstyle.start import style_mosaic
from jaxstyle.step import State, init, step
from jaxstyle.targets import Targets, make_targets, whiten
from jaxstyle.transfer import stylize
from jaxstyle.vgg import features, init_params
from jaxstyle.weights import load_params

__all__ = [
    "BatchProgress",
    "Canvas",
    "Checkpoint",
    "InputError",
    "LossWeights",
    "Losses",
    "Objective",
    "Preset",
    "Progress",
    "Regions",
    "Result",
    "State",
    "Status",
    "Targets",
    "adam",
    "averaged",
    "balance",
    "contact_sheet",
    "content_loss",
    "features",
    "gather",
    "gram_matrix",
    "init",
    "init_params",
    "lbfgs",
    "load_image",
    "load_params",
    "make_mesh",
    "make_targets",
    "on_canvas",
    "on_mesh",
    "preset",
    "read_recipe",
    "regions_of",
    "replicated",
    "resize",
    "save_image",
    "spread",
    "step",
    "style_loss",
    "style_mosaic",
    "stylize",
    "stylize_batch",
    "total_variation",
    "value_and_grad",
    "white_noise",
    "whiten",
]
