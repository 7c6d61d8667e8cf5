"""Who gets how much of the mail of the world."""

from collections.abc import Sequence
from dataclasses import replace

from mx10.routing.values import Exchanger, ExchangerStatus


def shares(exchangers: Sequence[Exchanger]) -> list[float]:
    """Each exchanger's part of the mail: senders pick evenly among the usable ones of the best preference that has any.

    An exchanger that cannot be used costs a sender one attempt; the next is as likely any of its equals. So its part
    falls evenly to those, and when none is left, to the next preference.
    """
    usable = [one.preference for one in exchangers if one.status is ExchangerStatus.USABLE]
    if not usable:
        return [0.0] * len(exchangers)
    best = min(usable)
    part = 1 / usable.count(best)
    return [part if one.status is ExchangerStatus.USABLE and one.preference == best else 0.0 for one in exchangers]


def shared(exchangers: list[Exchanger], normally: Sequence[float]) -> list[Exchanger]:
    return [
        replace(one, share=share, share_normally=normal)
        for one, share, normal in zip(exchangers, shares(exchangers), normally, strict=True)
    ]
