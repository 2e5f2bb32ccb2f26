"""Neural style transfer (Gatys, Ecker and Bethge, CVPR 2016) as pure JAX functions.

```python
import jaxstyle as js

content = js.load_image("content.jpg", size=512)
style = js.load_image("style.jpg", size=512)
result = js.stylize(content, style)
js.save_image("out.png", result.image)
```
"""

from jaxstyle import distributed as distributed
from jaxstyle.errors import InputError
from jaxstyle.feed_forward.network import apply_network, init_network
from jaxstyle.feed_forward.network_file import load_network, save_network
from jaxstyle.image.canvas import Canvas, on_canvas
from jaxstyle.image.contact_sheet import contact_sheet
from jaxstyle.image.io import load_image, read_recipe, save_image
from jaxstyle.image.mask_files import load_mask
from jaxstyle.image.masks import regions_of
from jaxstyle.image.mosaic import style_mosaic
from jaxstyle.image.ops import resize, white_noise
from jaxstyle.image.regions import Regions
from jaxstyle.losses.gatys import content_loss, gram_matrix, style_loss, total_variation
from jaxstyle.losses.temporal import Warped, temporal_loss
from jaxstyle.minimize.checkpoint import Checkpoint
from jaxstyle.minimize.status import Status
from jaxstyle.minimize.step import State, init, step
from jaxstyle.objective.balance import balance
from jaxstyle.objective.base import Losses, LossWeights, Objective
from jaxstyle.objective.evaluate import value_and_grad
from jaxstyle.objective.mesh import gather, make_mesh, on_mesh, replicated, shard
from jaxstyle.objective.perceptual import perceptual_loss, style_statistics
from jaxstyle.objective.targets import StyleStatistics, Targets, make_targets, whiten
from jaxstyle.optim.adam import adam
from jaxstyle.optim.averaging import averaged
from jaxstyle.optim.lbfgs import lbfgs
from jaxstyle.transfer.change import Change
from jaxstyle.transfer.presets import preset
from jaxstyle.transfer.result import BatchProgress, Progress, Result
from jaxstyle.transfer.settings import Settings
from jaxstyle.transfer.stylize import stylize
from jaxstyle.transfer.stylize_batch import stylize_batch
from jaxstyle.vgg.network import features, init_params
from jaxstyle.vgg.weights import load_params
from jaxstyle.video.state import VideoState, load_video_state, save_video_state
from jaxstyle.video.stylize_video import stylize_video

__version__ = "0.2.0.dev0"
# Aliases of earlier names.
spread = shard
Preset = Settings

__all__ = [
    "BatchProgress",
    "Canvas",
    "Change",
    "Checkpoint",
    "InputError",
    "LossWeights",
    "Losses",
    "Objective",
    "Preset",
    "Progress",
    "Regions",
    "Result",
    "Settings",
    "State",
    "Status",
    "StyleStatistics",
    "Targets",
    "VideoState",
    "Warped",
    "adam",
    "apply_network",
    "averaged",
    "balance",
    "contact_sheet",
    "content_loss",
    "features",
    "gather",
    "gram_matrix",
    "init",
    "init_network",
    "init_params",
    "lbfgs",
    "load_image",
    "load_mask",
    "load_network",
    "load_params",
    "load_video_state",
    "make_mesh",
    "make_targets",
    "on_canvas",
    "on_mesh",
    "perceptual_loss",
    "preset",
    "read_recipe",
    "regions_of",
    "replicated",
    "resize",
    "save_image",
    "save_network",
    "save_video_state",
    "shard",
    "spread",
    "step",
    "style_loss",
    "style_mosaic",
    "style_statistics",
    "stylize",
    "stylize_batch",
    "stylize_video",
    "temporal_loss",
    "total_variation",
    "value_and_grad",
    "white_noise",
    "whiten",
]
