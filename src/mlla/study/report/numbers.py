"""Numbers as a report shows them; what is missing is a dash, never a zero."""

from __future__ import annotations

DASH = "\N{EN DASH}"
MISSING = DASH
MINUS = "\N{MINUS SIGN}"


def points(fraction: float | None) -> str:
    """Write a score between 0 and 1 in points of 100: 41.23."""
    return MISSING if fraction is None else _minus(f"{100 * fraction:.2f}")


def signed_points(fraction: float | None) -> str:
    """Write a difference of scores in points of 100 with its sign: +1.23."""
    if fraction is None:
        return MISSING
    text = f"{100 * fraction:+.2f}"
    return "0.00" if float(text) == 0 else _minus(text)


def points_with_spread(mean: float | None, spread: float | None) -> str:
    """Write a mean score and its standard deviation: 41.23 ± 0.40."""
    return points(mean) if spread is None else f"{points(mean)} ± {points(spread)}"


def interval(low: float | None, high: float | None) -> str:
    """Write an interval of a difference in points of 100: [+0.30, +2.10]."""
    if low is None or high is None:
        return MISSING
    return f"[{signed_points(low)}, {signed_points(high)}]"


def probability(p_value: float | None) -> str:
    """Write a p-value: 0.008, or < 0.001."""
    if p_value is None:
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def count(number: float | None) -> str:
    """Write a whole number with its thousands set apart: 3,012,018."""
    return MISSING if number is None else f"{number:,.0f}"


def millions(number: float | None) -> str:
    """Write a number in millions: 3.01."""
    return MISSING if number is None else f"{number / 1e6:.2f}"


def significant(number: float | None) -> str:
    """Write a positive number with three digits that matter: 0.0123, 12.3, 123, 1,234."""
    if number is None:
        return MISSING
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}"


def ratio(number: float | None) -> str:
    """Write how many times as much: 1.08."""
    return MISSING if number is None else f"{number:.2f}"


def between(low: str, high: str) -> str:
    """Write the ends of a range of positive numbers: 11.9-12.8."""
    return MISSING if MISSING in (low, high) else f"{low}{DASH}{high}"


def trimmed(number: float) -> str:
    """Write a number without digits that say nothing: 0.5, 20."""
    return _minus(f"{number:.4g}")


def gibibytes(number: float | None) -> str:
    """Write a number of bytes in GiB: 1.93."""
    return MISSING if number is None else f"{number / 2**30:.2f}"


def duration(seconds: float | None) -> str:
    """Write a time as hours, minutes and seconds: 1:02:03."""
    if seconds is None:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
