"""What the command line prints: tables that fit, colours only for people, and no control characters of others."""

import io

import pytest

from controlplane.cli.terminal import Live, Table, Terminal, styled, wide


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Screen()


def printed(shown: object) -> str:
    out = io.StringIO()
    Terminal(out).print(shown)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_table_has_columns_as_wide_as_their_cells() -> None:
    table = Table(("key", "by"), [("web-search", "ada"), ("x", styled("yellow", "bob"))])
    assert printed(table) == "key         by\nweb-search  ada\nx           bob\n"


def test_a_table_folds_between_words_and_never_the_fixed_column() -> None:
    table = Table(("key", "why"), [("a-long-key", "one two three")], fixed=frozenset({0}))
    assert list(table.lines(20))[1:] == ["a-long-key  one two", "            three"]
    assert list(table.lines(4))[1:] == ["a-long-key  one two", "            three"], "it narrows no further"


def test_wide_characters_and_a_word_longer_than_the_column() -> None:
    assert (wide("日本"), wide("e\u0301"), wide(styled("red", "ab"))) == (4, 1, 2)
    table = Table(("", ""), [("k", "日" * 8), ("", "")])
    assert list(table.lines(13)) == ["k  日日日日日", "   日日日", ""]


def test_colours_are_for_a_terminal_that_wants_them(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    Terminal(screen).print(styled("green", "on"))
    assert screen.getvalue() == "\x1b[32mon\x1b[0m\n"
    assert printed(styled("green", "on")) == "on\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Screen()
    Terminal(plain).print(styled("green", "on"))
    assert plain.getvalue() == "on\n"


def test_control_characters_of_others_are_shown_not_obeyed(screen: Screen) -> None:
    Terminal(screen).print("a\x1b]0;title\x07\x9b2Jb\r")
    assert screen.getvalue() == "a\ufffd]0;title\ufffd\ufffd2Jb\ufffd\n"
    assert printed("[bold]x[/]") == "[bold]x[/]\n", "brackets are text"


def test_live_draws_in_place_on_a_terminal_and_once_elsewhere(screen: Screen) -> None:
    with Live(Terminal(screen)) as live:
        live.update(["one", "two"])
        live.update("three")
    assert screen.getvalue() == "one\ntwo\n\x1b[2F\x1b[Jthree\n"
    out = io.StringIO()
    with Live(Terminal(out)) as live:
        live.update("first")
        live.update("last")
    assert out.getvalue() == "last\n"


def test_live_draws_what_fits(screen: Screen) -> None:
    terminal = Terminal(screen)
    terminal.width, terminal.height = 10, 4
    assert terminal.redraw(["x" * 15, "y", "z"], 0) == 3
    assert screen.getvalue() == "x" * 15 + "\ny\n"
