"""All charts of a report, as SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.charts.canvas import chart_settings, to_svg
from mlla.study.report.charts.curves import training_curves
from mlla.study.report.charts.forest import forest_plot
from mlla.study.report.charts.latency import accuracy_latency, runtimes_of
from mlla.study.report.charts.seed_dots import seed_dots

CURVES = ("AP", "train_loss")


@dataclass(frozen=True)
class Charts:
    """The charts, each an SVG element.

    Attributes:
        forest: Differences; None if nothing was compared.
        dots: Every run.
        latency: Accuracy over time for each runtime; None where no arm has a time.
        curves: For each quantity the figures of the arms.
    """

    forest: str | None
    dots: str
    latency: dict[str, str | None]
    curves: dict[str, list[str]]

    def files(self) -> dict[str, str]:
        """Return the charts by the names of files for them."""
        curves = {
            f"curves-{quantity}-{number}.svg": chart
            for quantity, charts in self.curves.items()
            for number, chart in enumerate(charts, start=1)
        }
        latency = {
            f"latency-{_plain(runtime)}.svg": chart for runtime, chart in self.latency.items()
        }
        found = {"forest.svg": self.forest, "runs.svg": self.dots, **latency, **curves}
        return {name: chart for name, chart in found.items() if chart is not None}


def draw_charts(
    results: Mapping[str, Any], styles: Mapping[str, ArmStyle], texts: Mapping[str, str]
) -> Charts:
    """Draw everything that there are numbers for.

    Args:
        results: Content of results.json.
        styles: Of the arms, in the order in which they are shown.
        texts: Of the language.

    Returns:
        The charts.
    """
    with chart_settings():
        forest = forest_plot(results, styles, texts)
        latency = {
            runtime: accuracy_latency(results, styles, texts, runtime)
            for runtime in runtimes_of(results)
        }
        curves = {
            quantity: training_curves(results, styles, texts, quantity) for quantity in CURVES
        }
        return Charts(
            None if forest is None else to_svg(forest, "forest", texts["forest"]),
            to_svg(seed_dots(results, styles, texts), "runs", texts["dots"]),
            {
                runtime: None
                if figure is None
                else to_svg(figure, f"latency-{_plain(runtime)}", texts["latency"])
                for runtime, figure in latency.items()
            },
            {
                quantity: [
                    to_svg(figure, f"curves-{quantity}-{number}", f"{texts['curves']}: {name}")
                    for number, (name, figure) in enumerate(figures.items(), start=1)
                ]
                for quantity, figures in curves.items()
            },
        )


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", name)
