"""The same augmentation, of whole batches and on any device, from what was drawn on the CPU."""

from eosin.augment.replay import replay_batch, require_device_version
from eosin.augment.views import DeviceViews

__all__ = ["DeviceViews", "replay_batch", "require_device_version"]
