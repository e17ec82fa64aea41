"""What a trainer does with the shards of a run, epoch by epoch; it imports neither Beam nor torch.

The stages here are functions over the samples of a WebDataset pipeline, before or after they are
decoded: ``wds.WebDataset(urls).compose(resample(t=20)).decode("pil")``.
"""

from curate.loading.balance import Sampler, resample
from curate.loading.captions import draw_caption, weigh_captions

__all__ = ["Sampler", "draw_caption", "resample", "weigh_captions"]
