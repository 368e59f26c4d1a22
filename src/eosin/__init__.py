"""Train pathology foundation models straight from whole-slide images.

The folders are the journey: `backends`, `tissue`, `sampling`, `filters`, `transforms`, `views`,
`stream`, `pipeline`, `loader`, `models`, `losses`, `train`, `embed`, `evaluate`, `report`. Nothing
is imported here, so that the streaming part never pays for torch.
"""

from importlib.metadata import version

__version__ = version("eosin")
