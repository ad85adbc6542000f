from bdpo_pipeline.tracking.hook import TrackingHook
from bdpo_pipeline.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS

__all__ = ["CONFIG_LOADER_ARGS", "CONFIG_LOADER_CLASS"]
HOOKS = (TrackingHook(),)
