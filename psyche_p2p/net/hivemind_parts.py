"""The parts of hivemind that we use, imported without the rest of it.

`import hivemind` imports torch, scipy and all of its training (200 MiB, and seconds), of which a
node of the DHT needs nothing. The packages whose `__init__` imports all that stand in as empty ones
while the modules below are loaded, and are taken away again, so that a later `import hivemind` of
somebody else is the whole one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_HOLLOW = ("hivemind", "hivemind.dht", "hivemind.utils")
_UTILS = {  # what the modules of the DHT take from the package `hivemind.utils` itself
    "hivemind.utils.serializer": ("MSGPackSerializer", "SerializerBase"),
    "hivemind.utils.logging": ("get_logger",),
    "hivemind.utils.timed_storage": ("get_dht_time",),
}


def load(name: str) -> Any:
    """One of hivemind's modules; by way of the whole package where the short way is blocked."""
    with warnings.catch_warnings():  # what it and its dependencies deprecate is not ours to mend
        warnings.simplefilter("ignore")
        if name in sys.modules or "hivemind" in sys.modules:
            return importlib.import_module(name)
        try:
            with _hollow_packages():
                return importlib.import_module(name)
        except (ImportError, AttributeError):  # another version, built differently
            return importlib.import_module(name)


@contextmanager
def _hollow_packages() -> Iterator[None]:
    spec = importlib.util.find_spec("hivemind")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("hivemind is not installed")
    root = Path(spec.submodule_search_locations[0]).parent
    try:
        for name in _HOLLOW:
            package = ModuleType(name)
            package.__path__ = [str(root.joinpath(*name.split(".")))]
            sys.modules[name] = package
        for name, attributes in _UTILS.items():
            module = importlib.import_module(name)
            for attribute in attributes:
                setattr(sys.modules["hivemind.utils"], attribute, getattr(module, attribute))
        yield
    finally:
        for name in _HOLLOW:
            sys.modules.pop(name, None)
