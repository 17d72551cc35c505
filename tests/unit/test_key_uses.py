from controlplane.access.keyuse import EVERY_MS, KeyUses

NOW = 1_800_000_000_000


def test_a_first_use_is_told_at_once_and_later_ones_once_a_minute() -> None:
    uses = KeyUses()
    uses.note(["k1", "k2"], NOW)
    assert uses.due(NOW) == {"k1": NOW, "k2": NOW}
    uses.told(uses.due(NOW))
    uses.note(["k1"], NOW + 5)
    assert uses.due(NOW + EVERY_MS - 1) == {}
    assert uses.due(NOW + EVERY_MS) == {"k1": NOW + 5}


def test_what_could_not_be_told_stays_due() -> None:
    uses = KeyUses()
    for at in range(NOW, NOW + 1000):
        uses.note(["k1"], at)
    assert uses.due(NOW + 1000) == uses.due(NOW + 2000) == {"k1": NOW + 999}
