from __future__ import annotations

from structlog.testing import capture_logs

from pgd_core.store.isolation import one_by_one


def test_a_row_that_fails_is_told_and_passed_by_and_one_of_no_result_is_left_out():
    def _end(name):
        return None if name == "gone" else 6 // int(name)

    with capture_logs() as logged:
        assert one_by_one(_end, ["1", "0", "gone", "3"]) == [6, 2]

    [told] = logged
    assert (told["event"], told["step"], told["row"]) == ("row_failed", "end", "0")
    assert told["exc_info"]
