"""Put the results of all trainings into one table and one file."""

import json
import statistics
from pathlib import Path

METRICS = ("test_mAP50", "test_mAP50-95")


def write_summary(work: Path) -> str:
    """Write summary.md and results.json into the work folder; return the former."""
    results = [json.loads(file.read_text()) for file in sorted((work / "results").glob("*.json"))]
    if not results:
        return "no training has finished"
    text = "\n".join([*table(results), "", *leak(results), ""])
    (work / "summary.md").write_text(text)
    (work / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return f"\n{text}\nwritten to {work}: summary.md, results.json, and runs/*/pictures"


def table(results: list[dict]) -> list[str]:
    """Return one row for every metric, split and model, with mean and spread over the seeds."""
    seeds = sorted({result["seed"] for result in results})
    head = ["", "split", "model", *(f"seed {seed}" for seed in seeds), "mean ± std"]
    rows = [head, ["---"] * len(head)]
    for metric in METRICS:
        for (split, model), found in grouped(results).items():
            scores = {result["seed"]: result[metric] for result in found}
            cells = [f"{scores[seed]:.3f}" if seed in scores else "-" for seed in seeds]
            values = list(scores.values())
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            rows.append([metric, split, model, *cells, f"{statistics.mean(values):.3f}{spread}"])
    return [f"| {' | '.join(row)} |" for row in rows]


def leak(results: list[dict]) -> list[str]:
    """Return how much better each model looks on the random split."""
    by_key = grouped(results)
    lines = []
    for model in sorted({model for _, model in by_key}):
        if {("random", model), ("grouped", model)} <= by_key.keys():
            for metric in METRICS:
                means = [
                    statistics.mean(result[metric] for result in by_key[split, model])
                    for split in ("random", "grouped")
                ]
                difference = means[0] - means[1]
                lines.append(f"{model}: {metric} random minus grouped {difference:+.3f}")
    return lines


def grouped(results: list[dict]) -> dict[tuple[str, str], list[dict]]:
    by_key: dict[tuple[str, str], list[dict]] = {}
    for result in sorted(results, key=lambda result: (result["split"], result["model"])):
        by_key.setdefault((result["split"], result["model"]), []).append(result)
    return by_key
