"""How the console says numbers, instants and differences."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from brownout.model.resources import SafeModeProfile
from controlplane.errors import BrownoutError
from controlplane.web.editing.jsondiff import MAX_LINES, diff_bytes, pretty
from controlplane.web.editing.worddiff import word_diff
from controlplane.web.kit import words
from controlplane.web.kit.parts import fleet_group, sparkline
from controlplane.web.kit.problems import HTML_EXCEPTION_HANDLERS
from controlplane.web.safe_mode.words import profile_words

NOW = datetime(2026, 11, 22, 14, 7, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.short(812), "812"), (words.short(8000), "8\u00a0k"), (words.short(2_400_000), "2.4\u00a0M"),
        (words.short(0.25), "0.25"), (words.seconds(0.036), "36\u00a0ms"), (words.seconds(0.84), "0.8\u00a0s"),
        (words.seconds(130), "2\u00a0min"), (words.percent(0.453), "45\u00a0%"), (words.percent(0.003), "0.3\u00a0%"),
        (words.percent(0), "0\u00a0%"), (words.basis_points(250), "2.5\u00a0%"), (words.plural(1, "instance"), "1\u00a0instance"),
        (words.plural(43, "instance"), "43\u00a0instances"), (words.ago(NOW - timedelta(minutes=9), NOW), "9\u00a0min ago"),
        (words.ago(NOW - timedelta(days=2), NOW), "20 Nov 14:07"), (words.left(NOW + timedelta(minutes=59, seconds=48), NOW), "59 min 48 s"),
        (words.left(NOW - timedelta(seconds=5), NOW), "0 min 0 s"), (words.day(NOW, NOW), "Today, 22 November"),
        (words.day(NOW - timedelta(days=1), NOW), "Yesterday, 21 November"), (words.initials("mara.lind@example.com"), "ML"),
        (words.initials("\u202e"), "?"), (words.sentence("paused: why"), "Paused: why."), (words.sentence("Why?"), "Why?"),
        (words.sentence(""), ""), (words.clock_off(3600), "clock 1\u00a0h fast"), (words.clock_off(-42), "clock 42\u00a0s slow"),
        (words.clock_off(4.9), ""),
    ],
)  # fmt: skip
def test_said(said: str, expected: str) -> None:
    assert said == expected


def test_a_diff_stands_under_the_pointer_where_it_is() -> None:
    before = b'{"rules":[{"serve":{"split":[{"variant":"a","weight_bp":500}]}}],"type":"string"}'
    after = b'{"rules":[{"serve":{"split":[{"variant":"a","weight_bp":2500}]}}],"type":"string"}'
    lines = diff_bytes(before, after, "flag x")
    assert lines[0].text == "flag x /rules/0/serve/split/0"
    assert [(line.kind, line.text.strip()) for line in lines if line.kind in {"add", "del"}] == [
        ("del", '"weight_bp": 500'),
        ("add", '"weight_bp": 2500'),
    ]
    assert diff_bytes(before, before) == ()
    assert {line.kind for line in diff_bytes(None, after)} == {"at", "add"}


PROMPT = "You are the assistant of a shop. Answer in two sentences. Never promise a refund. " * 3


def prompt_flag(text: str) -> bytes:
    return msgspec.json.encode({"variants": {"a": {"messages": [{"role": "system", "text": text}]}}})


def test_a_long_text_that_changed_is_shown_once_with_the_words_taken_out_and_put_in() -> None:
    lines = diff_bytes(prompt_flag(PROMPT), prompt_flag(PROMPT.replace("two", "three", 1)))
    (line,) = [line for line in lines if line.kind == "words"]
    assert line.text.strip() == '"text":'
    assert [(part.kind, part.text.strip()) for part in line.parts if part.kind != "same"] == [
        ("del", "two"),
        ("add", "three"),
    ]
    assert not any(line.kind in {"add", "del"} for line in lines)


def test_texts_with_little_in_common_are_shown_one_after_the_other() -> None:
    other = "Sois bref et poli avec chaque client de la boutique, toujours, et sans exception aucune."
    lines = diff_bytes(prompt_flag(PROMPT), prompt_flag(other))
    assert {line.kind for line in lines} >= {"add", "del"}
    assert not any(line.kind == "words" for line in lines)


def test_a_word_diff_keeps_every_word_of_short_texts_and_the_surroundings_of_long_ones() -> None:
    short = word_diff("Be kind to everyone.", "Be very kind to everyone.")
    assert short is not None
    assert "".join(part.text for part in short if part.kind != "del") == "Be very kind to everyone."
    assert "".join(part.text for part in short if part.kind != "add") == "Be kind to everyone."
    words = [f"w{number}" for number in range(30_000)]
    parts = word_diff(" ".join(words), " ".join([*words[:15_000], "new", *words[15_000:]]))
    assert parts is not None
    assert [part.text for part in parts if part.kind == "add"] == [" new"]
    assert sum(len(part.text) for part in parts) < 1_000


def test_a_huge_diff_is_cut_and_says_so() -> None:
    lines = diff_bytes(None, b"{" + b",".join(b'"k%d":[{}]' % number for number in range(2000)) + b"}")
    assert len(lines) == MAX_LINES + 1
    assert "more lines" in lines[-1].text


def test_pretty_json_keeps_short_lists_on_one_line() -> None:
    assert pretty({"a": ["x", "y"], "b": {}}) == '{\n  "a": ["x", "y"],\n  "b": {}\n}'


def test_a_sparkline_starts_at_zero_and_where_the_data_starts() -> None:
    assert sparkline([None, None, 4.0, 2.0]) == "0,3 64,10"
    assert sparkline([None, 4.0]) == ""


def test_cells_are_one_path_a_tone_and_a_bar_when_there_are_too_many() -> None:
    group = fleet_group("service", ["new", "new", "lag"])
    assert [(drawn.tone, drawn.path.count("M")) for drawn in group.cells] == [("new", 2), ("lag", 1)]
    assert (group.current, group.total) == (2, 3)
    assert fleet_group("service", ["new"] * 500).cells == ()


def test_a_profile_in_plain_words() -> None:
    profile = SafeModeProfile(
        exclude_tools=("*",), max_temperature=0.1, max_context_tokens=8000, sensitive="human_review"
    )
    assert profile_words(profile) == "No tools · temperature ≤ 0.1 · context ≤ 8\u00a0k tokens · sensitive → a person"
    assert profile_words(SafeModeProfile()) == "Changes nothing yet"


def test_people_get_pages_for_every_error() -> None:
    assert BrownoutError in HTML_EXCEPTION_HANDLERS
    assert Exception in HTML_EXCEPTION_HANDLERS
