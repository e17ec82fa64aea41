"""Beam's options, of which each view is made once."""

from apache_beam.options.pipeline_options import PipelineOptions


class Options(PipelineOptions):  # type: ignore[misc, unused-ignore]
    """Options for a graph of many transforms.

    Beam asks for a view several times a transform, and reads the flags anew for each. All views share
    their values, so one of a kind is enough.
    """

    def view_as(self, cls: type[PipelineOptions]) -> PipelineOptions:
        """These options as those of `cls`."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]
