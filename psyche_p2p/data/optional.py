"""Libraries that only some users of training data need, asked for where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from psyche_p2p.errors import ResourceError


def require_library(module: str, purpose: str) -> Any:
    """A module of the `data` extra; a ResourceError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        cure = "install it with: pip install 'psyche-p2p[data]'"
        raise ResourceError(f"{purpose} needs {library}, which is not here", cure) from error
