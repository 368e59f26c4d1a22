"""Damage the tiles of slides in every codec, and see what each reader makes of them.

PYTHONPATH=tests .venv/bin/python tests/fuzz/damaged_tiles.py

Prints the table of docs/robustness.md: what a reader does with a damaged tile, of whichever rows.
"""

import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile

from eosin.backends import ImageBackend, MppPolicy, OpenSlideBackend, SlideBackend, TiffBackend
from eosin.errors import SlideError
from eosin.scratch import Scratch
