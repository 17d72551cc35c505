"""Response templates: `{name}` is a placeholder, `{{` and `}}` are braces. No logic, so no surprises."""

from collections.abc import Iterator, Mapping


def placeholders(text: str) -> tuple[str, ...]:
    """The placeholders of `text` in order of first use.

    Raises:
        ValueError: a brace stands alone, or a placeholder is not an identifier.
    """
    return tuple(dict.fromkeys(name for _, name in _parts(text) if name))


def render(text: str, values: Mapping[str, object]) -> str:
    """`text` with its placeholders filled; one that `values` lacks becomes empty."""
    return "".join(literal + (str(values.get(name, "")) if name else "") for literal, name in _parts(text))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Pairs of literal text and the placeholder after it ("" for none)."""
    at = 0
    literal = ""
    while at < len(text):
        here = text[at]
        if here not in "{}":
            end = min((i for i in (text.find("{", at), text.find("}", at)) if i >= 0), default=len(text))
            literal, at = literal + text[at:end], end
        elif text.startswith(here, at + 1):
            literal, at = literal + here, at + 2
        else:
            end = text.find("}", at)
            name = text[at + 1 : end] if here == "{" else ""
            if not name.isidentifier():
                raise ValueError(f"a lone brace or a bad placeholder at character {at}")
            yield literal, name
            literal, at = "", end + 1
    yield literal, ""
