import msgspec

from brownout import wire


def test_every_operation_comes_back_as_it_was_sent() -> None:
    steps = (
        wire.Operation("put", "cohort", "beta", msgspec.Raw(b'{"include":["u-1"]}')),
        wire.Operation("del", "cohort", "old"),
        wire.Operation("reset"),
    )
    sent = msgspec.json.encode(wire.Envelope(1, "production", 1, 7, "", 0, steps))
    received = msgspec.json.decode(sent, type=wire.Envelope)
    assert [(s.op, s.kind, s.key, s.spec and bytes(s.spec)) for s in received.ops] == [
        ("put", "cohort", "beta", b'{"include":["u-1"]}'),
        ("del", "cohort", "old", msgspec.UNSET),
        ("reset", "", "", msgspec.UNSET),
    ]
    assert msgspec.json.encode(received) == sent
