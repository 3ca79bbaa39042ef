"""Sections of a foreign JSON as records, every value of its kind and in its range."""

from collections.abc import Mapping
from typing import Any, TypeVar

from jaxdistill.errors import InputError
from jaxdistill.settings import Setting, settings_of

Record = TypeVar("Record", bound=tuple)


def as_record(kind: type[Record], given: Any, at: str) -> Record:
    """The record that a section holds, by the settings that the record declares.

    What the section lacks has its usual value. Raises `InputError` naming `at` where it
    is no section, where a value is missing, or makes no sense.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{at} must be a section, and is {_brief(given)}")
    values = {}
    for name, setting in settings_of(kind).items():
        if isinstance(setting, Setting):
            value = given.get(name, setting.usual)
            values[name] = setting.accept(f"{at}.{name}", _checked(value, setting))
    return kind(**values)


def _checked(value: Any, setting: Setting) -> Any:
    """A long text would fill the sentence that refuses it."""
    long = isinstance(value, str | list | Mapping) and len(str(value)) > 10_000
    return _brief(value) if long and setting.kind is not dict else value


def _brief(value: Any) -> str:
    return str(value)[:40]
