"""The objectives, a file each; a file that is put here is registered. docs/objectives.md shows how to add one."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
