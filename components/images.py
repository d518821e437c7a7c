"""Images that the components run in, one per group of dependencies: by digest if `make images` built this tree.

The local subprocess runner ignores them. Set GRISTMILL_IMAGE_PREFIX before compiling to take them from a registry.
"""

from llm.images import are_pinned, references

DATA, TRAIN, EXPORT, REGISTRY = references("data", "train", "export", "registry")
ARE_PINNED = are_pinned((DATA, TRAIN, EXPORT, REGISTRY))
"""Whether they hold what this tree says, and nothing else."""
