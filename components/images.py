"""Images that the components run in, one per group of dependencies.

The names are tags until the images are built and pinned by digest; the local subprocess runner ignores them.
Set GRISTMILL_IMAGE_PREFIX to a registry and repository of your own before compiling.
"""

import os

from llm import __version__

_PREFIX = os.environ.get("GRISTMILL_IMAGE_PREFIX", "gristmill-python")

DATA = f"{_PREFIX}/data:{__version__}"
TRAIN = f"{_PREFIX}/train:{__version__}"
EXPORT = f"{_PREFIX}/export:{__version__}"
REGISTRY = f"{_PREFIX}/registry:{__version__}"
