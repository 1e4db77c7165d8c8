"""Which language a person at a terminal reads. Used by every role that prints words."""

from collections.abc import Mapping


def is_chinese(environ: Mapping[str, str]) -> bool:
    """Return whether the first locale variable that is set asks for Chinese."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return locale.lower().startswith("zh")
