"""The keys that name files: their types mark them, and one walk over the settings finds them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeGuard, TypeVar, get_args

from curate import files
from curate.config.model import Model

Settings = TypeVar("Settings", bound=Model)


@dataclass(frozen=True)
class NamesFiles:
    """The mark of a key whose values name files."""

    several: bool = False  # a folder, a glob or a range is allowed, too
    or_name: bool = False  # may be a name at open_clip or a hub: see `is_file_name`
    counts: bool = True  # must exist, and its content is part of digests
    travels: bool = True  # is read by workers on other machines, too


FilePath = Annotated[str, NamesFiles()]
"""A file that is read."""
FilesPath = Annotated[str, NamesFiles(several=True)]
"""A file, or several: a folder, a glob, a range of names."""
FileOrName = Annotated[str, NamesFiles(or_name=True)]
"""A file, or a name at open_clip or a hub."""
PlacePath = Annotated[str, NamesFiles(counts=False)]
"""The pool or the run directory, which have checks of their own."""
CodePath = Annotated[str, NamesFiles(counts=False, travels=False)]
"""A folder of users' code; workers on other machines have it in their image or by Beam's setup file."""


@dataclass(frozen=True)
class Named:
    """A path in a configuration."""

    key: str  # the whole key, as in prepare.metadata.en
    field: str  # the last field in the key, as in metadata
    path: str  # as in the configuration
    mark: NamesFiles


def mark_of(
    annotation: object, metadata: tuple[object, ...] | list[object] = ()
) -> NamesFiles | None:
    """The mark in the type of a field, at any depth."""
    inner = (*metadata, *getattr(annotation, "__metadata__", ()))
    found = [x for x in inner if isinstance(x, NamesFiles)]
    found += [x for one in get_args(annotation) if (x := mark_of(one))]
    return found[0] if found else None


def with_paths(settings: Settings, change: Callable[[Named], str], *, under: str = "") -> Settings:
    """`settings` with `change` applied to each path in them; `under` is the key of `settings`."""

    def of(value: object, key: str, field: str, mark: NamesFiles | None) -> object:
        if isinstance(value, Model):
            return with_paths(value, change, under=key)
        if isinstance(value, dict):
            return {name: of(x, f"{key}.{name}", field, mark) for name, x in value.items()}
        if isinstance(value, tuple):
            return tuple(of(x, key, field, mark) for x in value)
        if mark is None or not isinstance(value, str) or not value:
            return value
        if mark.or_name and not is_file_name(value):
            return value
        return change(Named(key, field, value, mark))

    update = {}
    for name, field in type(settings).model_fields.items():
        key = ".".join(filter(None, (under, field.alias or name)))
        was = getattr(settings, name)
        if (found := of(was, key, name, mark_of(field.annotation, field.metadata))) != was:
            update[name] = found
    return settings.model_copy(update=update)


def paths_in(settings: Model, *, under: str = "") -> tuple[Named, ...]:
    """All paths in `settings`, in the order of the keys."""
    found: list[Named] = []

    def note(one: Named) -> str:
        found.append(one)
        return one.path

    with_paths(settings, note, under=under)
    return tuple(found)


def absolute(settings: Settings) -> Settings:
    """The same with absolute paths: workers, and later commands, have other working directories."""
    return with_paths(settings, lambda one: files.absolute(one.path))


def is_file_name(name: str | None) -> TypeGuard[str]:
    """Whether a model or checkpoint is given as a file, not by its name at open_clip or a hub."""
    if not name or name.startswith("hf-hub:"):
        return False
    return "/" in name or name.endswith((".json", ".pt", ".safetensors"))
