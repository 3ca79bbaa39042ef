"""The settings of a configuration as lines of help, and as tables of the pages."""

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from jaxdistill.cli.arguments import shipped
from jaxdistill.jobs.settings.resolve import leaves, schema
from jaxdistill.settings import Chosen, Section, Setting

COLUMN = 44  # of the meaning


def settings_help(full: Mapping[str, Any]) -> list[str]:
    """Shipped configs, then every setting that there is, by key, value and meaning."""
    found = list(leaves(schema(full), full))
    names = [f"{key}={value}" for key, _, value in found if _chooses(key)]
    wide = max(80, shutil.get_terminal_size().columns)
    lines = [
        *_wrapped("shipped configs: " + ", ".join(shipped()), wide),
        "",
        *_wrapped(f"settings with {', '.join(names)}", wide),
        "(another of these, as in --config.data.name=NAME --help, shows its own):",
    ]
    for key, setting, value in found:
        lines += _line(key, setting, value, wide)
    return lines


def settings_table(section: Section, at: str) -> str:
    """Markdown: a row for every setting that a section declares, `at` before names."""
    rows = ["| setting | usual | meaning | values |", "|---|---|---|---|"]
    for name, node in section.items():
        if isinstance(node, Setting):
            needed = node.usual == "" and node.kind is not str
            usual = "must be given" if needed else f"`{_shown(node.usual)}`"
            values = _values(node) or _kind(node)
            rows.append(f"| `{at}{name}` | {usual} | {node.meaning} | {values} |")
        if isinstance(node, Chosen):
            known = ", ".join(node.makers)
            of_it = "a section of its own settings"
            rows.append(f"| `{at}{name}.name` | `{node.usual}` | {of_it} | {known} |")
    return "\n".join(rows)


def _line(key: str, setting: Setting, value: Any, wide: int) -> list[str]:
    values = _values(setting)
    told = setting.meaning + (f" ({values})" if values else "")
    head = f"  {key:<30}{_shown(value)} "
    lines = textwrap.wrap(told, wide - COLUMN)
    if len(head) <= COLUMN:
        head += " " * (COLUMN - len(head)) + lines.pop(0)
    return [head.rstrip(), *(" " * COLUMN + line for line in lines)]


def _values(setting: Setting) -> str:
    return "; ".join(getattr(rule, "brief", str(rule)) for rule in setting.rules)


def _shown(value: Any) -> str:
    return '""' if value == "" else str(value).replace(" ", "")


def _kind(setting: Setting) -> str:
    return {bool: "true or false", str: "text"}.get(setting.kind, "")


def _wrapped(text: str, wide: int) -> list[str]:
    return textwrap.wrap(text, wide, subsequent_indent="  ")


def _chooses(key: str) -> bool:
    return key == "method" or (key.endswith("name") and "optimizer" not in key)
