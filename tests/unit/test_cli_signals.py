"""`brownout signals --class`: what answered, and every model that was called."""

from io import StringIO

from controlplane.cli.signals import _chart
from controlplane.cli.terminal import Terminal
from controlplane.telemetry.values import AnsweredBy, AttemptsAt, Chart


def shown(chart: Chart) -> list[str]:
    stream = StringIO()
    Terminal(stream).print(_chart(chart))
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_what_answered_and_what_was_called_stand_below_the_series() -> None:
    answered = [
        AnsweredBy("primary", "", 900, 0.9, 0.8, 0.0, 0.05),
        AnsweredBy("model", "spare", 100, 0.1, None, 0.0, 0.0),
    ]
    attempts = [AttemptsAt("openai", "gpt-5", 1200, 200, 0.25, {"overloaded": 300}, 400, 1900, 10_000, 2_345, None)]
    lines = shown(Chart(60, [], [], [], answered, attempts))
    assert lines[-6:] == [
        "answered by requests share completed escalated abandoned",
        "primary 900 90.0 % 80.0 % 0.0 % 5.0 %",
        "model:spare 100 10.0 % - 0.0 % 0.0 %",
        "",
        "attempts at calls retries failed errors p95 tokens",
        "openai gpt-5 1,200 200 25.0 % overloaded 300 1.90 s 12,345",
    ]


def test_services_that_report_neither_get_no_empty_tables() -> None:
    assert len(shown(Chart(60, [], [], []))) == 1
