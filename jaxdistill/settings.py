"""A setting is declared once, in the signature of what it sets.

    def convnet(..., *, width: Annotated[Width, "channels of a block"] = 128): ...

The annotation holds the type, the values that make sense, and one line of meaning; the
default is the usual value. The library's defaults and refusals come from there, and so
do the section of a configuration, its flags, its `--help` and the table in its page. A
parameter without a line of meaning is no setting: it is what a caller must bring.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

from jaxdistill.errors import InputError, meant, require_name
from jaxdistill.ranges import KINDS, OneOf, is_a


class Small(NamedTuple):
    """The value in a run that ends in seconds and shows nothing."""

    value: Any


class Free:
    """A mark of what may change when a run goes on: no result depends on it."""


class Chosen(NamedTuple):
    """A section that holds the settings of one of several makers, chosen by `name`."""

    makers: Mapping[str, Callable]
    usual: str


class Setting(NamedTuple):
    """What is told of a setting, wherever it is declared."""

    kind: type
    usual: Any
    meaning: str
    rules: tuple[Any, ...] = ()
    small: Any = None
    free: bool = False

    def cast(self, value: Any) -> Any:
        """A whole number for a number, a tuple for a list: the same value in its type.

        What is of another type is left as it is: `accept` refuses it.
        """
        if self.kind is float and is_a(value, float):
            return float(value)
        if self.kind is int and is_a(value, int):
            return int(value)
        return tuple(value) if self.kind is tuple and isinstance(value, list) else value

    def accept(self, key: str, value: Any) -> Any:
        """The value, in its type; `InputError` naming `key` where it makes no sense."""
        value = self.cast(value)
        if value == "" == self.usual and self.kind is not str:
            raise InputError(f"{key} must be given, {KINDS[self.kind]}: {self.meaning}")
        if not is_a(value, self.kind):
            raise InputError(
                f"{key}={value!r} must be {KINDS[self.kind]}: {self._hint}"
            )
        for rule in self.rules:
            if isinstance(rule, OneOf):
                require_name(key, value, rule.known)
            elif not rule.holds(value):
                raise InputError(f"{key}={value!r} must be {rule}: {self._hint}")
        return value

    @property
    def _hint(self) -> str:
        return f"{self.usual} is usual" if self.usual not in ("", {}) else self.meaning


Section = dict[str, Any]  # by name: a `Setting`, a `Chosen`, or a section within
Maker = TypeVar("Maker", bound=Callable)


def settings_of(maker: Callable) -> Section:
    """The settings that a function's or a record's signature declares, in order."""
    found: Section = {}
    for name, parameter in inspect.signature(maker).parameters.items():
        made = _declared(parameter)
        if made is not None:
            found[name] = made
    return found


def section_of(maker: Callable) -> Section:
    """The settings of a maker, and of the records that `declared` lays beside it."""
    found = settings_of(maker)
    for record in getattr(maker, "records", ()):
        found |= settings_of(record)
    return found


def usually(section: Section, record: Any) -> Section:
    """The section with the values of a record of its kind for the usual ones."""
    return {
        name: one._replace(usual=getattr(record, name))
        if isinstance(one, Setting) and hasattr(record, name)
        else one
        for name, one in section.items()
    }


def without(section: Section, *names: str) -> Section:
    """The section less some of its settings."""
    return {name: one for name, one in section.items() if name not in names}


def declared(section: str, *records: type) -> Callable[[Maker], Maker]:
    """Refuse what makes no sense at every call of a maker; `section` leads its keys.

    `records` hold settings of the same section that the maker does not take itself.
    """

    def wrap(maker: Maker) -> Maker:
        settings, signature = settings_of(maker), inspect.signature(maker)

        @functools.wraps(maker)
        def checked(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if isinstance(one := settings.get(name), Setting):
                    bound.arguments[name] = one.accept(f"{section}.{name}", value)
            return maker(*bound.args, **bound.kwargs)

        checked.records = records  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return wrap


def choose(
    section: str, makers: Mapping[str, Maker], name: str, given: Iterable[str]
) -> Maker:
    """The maker of a name; `InputError` for another, or settings that it lacks."""
    require_name(f"{section}.name", name, makers)
    require_settings(f"{section}.", section_of(makers[name]), given, name)
    return makers[name]


def require_settings(
    at: str, known: Iterable[str], given: Iterable[str], chosen: str = ""
) -> None:
    """`InputError` for a setting that is not among those known under `at`.

    `chosen` is the name that they depend on, if they do.
    """
    for key in given:
        if key not in known:
            of = f"of {at}name={chosen!r}" if chosen else "that there is"
            use = f"use {', '.join(known)}" if at else "see --help for all of them"
            raise InputError(f"{at}{key} is no setting {of}{meant(key, known)}: {use}")


def require(record: tuple, section: str) -> None:
    """`InputError` for a value of a record that its declaration refuses."""
    for name, one in settings_of(type(record)).items():
        if isinstance(one, Setting):
            one.accept(f"{section}.{name}", getattr(record, name))


def read(setting: Any, text: str) -> Any:
    """The value of a setting that a word stands for, as far as it is of its kind."""
    kind = setting.kind if isinstance(setting, Setting) else str
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def _declared(parameter: inspect.Parameter) -> Setting | Chosen | None:
    if get_origin(parameter.annotation) is not Annotated:
        return None
    base, *marks = get_args(parameter.annotation)
    meaning = [mark for mark in marks if isinstance(mark, str)]
    for mark in marks:
        if isinstance(mark, Chosen):
            return mark
    if not meaning:
        return None
    missing = parameter.default is inspect.Parameter.empty
    small = [mark.value for mark in marks if isinstance(mark, Small)]
    return Setting(
        kind=_kind(base),
        usual="" if missing else parameter.default,
        meaning=meaning[-1],
        rules=tuple(mark for mark in marks if hasattr(mark, "holds")),
        small=small[0] if small else None,
        free=any(isinstance(mark, Free) for mark in marks),
    )


def _kind(base: Any) -> type:
    base = get_origin(base) or base
    return base if base in KINDS else str
