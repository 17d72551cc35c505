"""The lint of words and lines finds what it should, and lets be what it should."""

import pytest

from docs import prose


def words(path: str, text: str) -> list[tuple[int, str]]:
    return [(found.line, found.what.split("”")[0].lstrip("“")) for found in prose.worst_words(path, text)]


def test_what_people_meet_has_none_of_the_worst_words() -> None:
    assert [str(found) for found in prose.check()] == []


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("docs/a.md", "Fine.\nWhoever asks, and for whom.", [(2, "Whoever"), (2, "whom")]),
        ("docs/a.md", "Run `test_nobody_asks` now.", []),
        ("docs/a.md", "```sh\nsu nobody\n```\nIt shall be.", [(4, "shall")]),
        ("ui/templates/a.html", "<p>Ask\nsomebody</p>", [(2, "somebody")]),
        ("docs/a.md", "A shallow body is no error.", []),
        ("controlplane/a.py", 'def f():\n    """Nobody reads this."""\n    raise E("nobody is here")', [(3, "nobody")]),
        ("controlplane/cli/a.py", 'def f():\n    """Ask somebody."""\n    # nobody\n', [(2, "somebody")]),
        ("controlplane/cli/a.py", 'X = 1\n"""Nobody reads this."""\n', []),
        ("controlplane/a.py", 'T = f"{x} is nobody\'s"', [(1, "nobody")]),
        ("controlplane/a.py", 'USER = "nobody"', []),
    ],
)  # fmt: skip
def test_words_are_found_where_people_meet_them(path: str, text: str, found: list[tuple[int, str]]) -> None:
    assert words(path, text) == found


LONG = "word " * 30


def test_a_long_line_is_found_and_wrapped_and_code_and_tables_are_let_be() -> None:
    page = f"# {LONG}\n\n{LONG}\n\n- {LONG}\n- short\n\n| {LONG} |\n\n```sh\n{LONG}\n```\n    {LONG}\n"
    assert [found.line for found in prose.long_lines("a.md", page)] == [3, 5]
    filled = prose.wrapped(page)
    assert list(prose.long_lines("a.md", filled)) == []
    assert prose.wrapped(filled) == filled
    assert filled.split() == page.split()
    assert f"| {LONG} |" in filled
    assert "\n  word" in filled


def test_what_is_short_enough_stays_as_it_was_written() -> None:
    page = "One sentence.\nAnother line.\n\n1. An item\n   that goes on.\n"
    assert prose.wrapped(page) == page


def test_a_word_that_is_too_long_is_no_fault() -> None:
    assert list(prose.long_lines("a.md", "See\n[this](" + "x" * 130 + ")\n")) == []
