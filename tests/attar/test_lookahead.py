"""Work done ahead of whoever reads the results."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from attar.lookahead import in_order


def test_results_come_in_order_and_no_more_items_are_begun_than_may_wait() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def square(item: int) -> int:
        with lock:
            begun.append(item)
        return item * item

    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, square, range(1000), 5)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert max(begun) <= 3 + 5
        assert list(results) == [item * item for item in range(3, 1000)]
