"""What a model's tokens cost. Prices are configuration: a model without one has no cost, not a cost of nothing."""

from collections.abc import Mapping

import msgspec


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In the operator's currency, per million tokens."""

    input_per_million: float
    output_per_million: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1e6


Prices = Mapping[str, Price]
"""By model, as it is written in model routes."""


def read_prices(text: str) -> Prices:
    """From JSON, `{"<model>": {"input_per_million": …, "output_per_million": …}}`; empty text means no prices.

    Raises:
        ValueError: it is not that.
    """
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Price])
    except msgspec.DecodeError as error:
        raise ValueError(f"prices: {error}") from None
