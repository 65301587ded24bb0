"""One order, colour and marker for each arm, the same in every chart and table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex, to_rgb

# Okabe and Ito's colours for the colour-blind without black and yellow, then three of Paul Tol's
_COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#882255",
    "#999933",
    "#332288",
)
_MARKERS = "os^vPXph*"
_BASELINE, _IDENTITY = "#222222", "#8a8a8a"
_KINDS = ("baseline", "variant", "added", "convolution", "identity")


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn.

    Attributes:
        color: Of its lines and dots.
        marker: Its dot, in the letters of matplotlib.
        is_filled: False for controls, whose dots are hollow.
    """

    color: str
    marker: str
    is_filled: bool

    @property
    def face(self) -> str:
        """Colour inside the dot."""
        return self.color if self.is_filled else "white"

    def dot(self, size_px: float) -> dict[str, Any]:
        """Return what matplotlib has to know to draw dots without a line."""
        return {
            "marker": self.marker,
            "color": self.color,
            "markerfacecolor": self.face,
            "markersize": size_px,
            "markeredgewidth": 1.5,
            "linestyle": "none",
        }


def order_arms(arms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the baseline first and every control behind the arm that it explains.

    Args:
        arms: Arms as in results.json.

    Returns:
        All of them.
    """
    names = [arm["name"] for arm in arms]

    def place(arm: dict[str, Any]) -> tuple[bool, int, int]:
        explained = arm.get("control_of")
        head = names.index(explained if explained in names else arm["name"])
        return arm["kind"] != "baseline", head, _KINDS.index(arm["kind"])

    return sorted(arms, key=place)


def style_arms(arms: Sequence[dict[str, Any]]) -> dict[str, ArmStyle]:
    """Choose how every arm is drawn.

    Args:
        arms: Arms as in results.json.

    Returns:
        Styles by name. The baseline is nearly black; a convolution control is a lighter, hollow
        version of the arm that it explains; the identity is grey.
    """
    styles: dict[str, ArmStyle] = {}
    num_colored = 0
    # controls last: they take after the arms that they explain
    for arm in sorted(arms, key=lambda one: one["kind"] in ("convolution", "identity")):
        explained = styles.get(arm.get("control_of") or "")
        if arm["kind"] == "baseline":
            style = ArmStyle(_BASELINE, "D", True)
        elif arm["kind"] == "identity":
            style = ArmStyle(_IDENTITY, "d", False)
        elif arm["kind"] == "convolution" and explained is not None:
            style = ArmStyle(_lighter(explained.color), explained.marker, False)
        else:
            place = num_colored % len(_COLORS)
            style = ArmStyle(_COLORS[place], _MARKERS[place], arm["kind"] != "convolution")
            num_colored += 1
        styles[arm["name"]] = style
    return styles


def _lighter(color: str) -> str:
    red, green, blue = (0.6 * part + 0.4 for part in to_rgb(color))
    return to_hex((red, green, blue))
