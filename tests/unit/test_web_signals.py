import pytest

from controlplane.web.signals.page import stretch


def test_an_address_names_a_stretch_by_its_seconds() -> None:
    found = stretch(1_000_000_000, 1_000_003_600)
    assert found is not None
    assert [f"{at:%Y-%m-%d %H:%M}" for at in found] == ["2001-09-09 01:46", "2001-09-09 02:46"]


@pytest.mark.parametrize(("start", "end"), [(None, 5), (5, None), (5, 5), (9, 5), (-(10**18), 5), (5, 10**18)])
def test_what_no_chart_could_show_is_no_stretch(start: int | None, end: int | None) -> None:
    assert stretch(start, end) is None
