"""A process killed while it writes: what it had acknowledged is there, nothing is by half, and work goes on.

A few kills; ``tools/kill.py`` does hundreds.
"""

from mx10.store.connect import Store
from tools.kill import round_of


def test_killed_in_the_middle(store: Store) -> None:
    store.close()
    for number in range(4):
        left = round_of(store.url, number, 0.3)
        assert left.wrong == ()
