"""Where long work stands, in words."""

from detnas.utils.progress import format_duration


def test_times_to_read() -> None:
    times = [format_duration(seconds) for seconds in (0, 0.5, 12.2, 59.6, 185, 8040, 183_600)]
    assert times == ["0 s", "0.5 s", "12 s", "1 min", "3 min 5 s", "2 h 14 min", "2 d 3 h"]
