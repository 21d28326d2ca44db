"""How every page of ours is made: from a template beside the code that fills it, with all values escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template

__all__ = ["template"]


@cache
def template(file: Path) -> Template:
    """The template in ``file``; a name that it uses and is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(file.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)
