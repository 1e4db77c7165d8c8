"""Which language a person at a terminal reads, and sentences that exist in both. Used by every role that prints."""

from collections.abc import Mapping


def is_chinese(environ: Mapping[str, str]) -> bool:
    """Return whether the first locale variable that is set asks for Chinese."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return locale.lower().startswith("zh")


class Said:
    """An English sentence with the values that stand in it: `Said("there is no file {path}", path=path)`.

    Its template is its name in tables of other languages; without values it may be any text, braces included.
    """

    def __init__(self, template: str, **values: object) -> None:
        self.template, self.values = template, values

    def __str__(self) -> str:
        return self._filled(self.template, self.values)

    def translated(self, words: Mapping[str, str]) -> str:
        """Return it in the words of another language, sentences within it too; in English where they are missing."""
        return self._filled(
            words.get(self.template, self.template),
            {name: _translated(value, words) for name, value in self.values.items()},
        )

    @staticmethod
    def _filled(template: str, values: Mapping[str, object]) -> str:
        return template.format(**values) if values else template


def _translated(value: object, words: Mapping[str, str]) -> object:
    said = getattr(value, "said", value)  # an error brings its sentence along
    return said.translated(words) if isinstance(said, Said) else value
