"""A picture of throughput by peer: one panel per workload, 64 connections (or the most there are), log scale."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {"bough": "#2f6f4f", "raw": "#9a9a9a", "nginx": "#9a9a9a"}


def main() -> None:
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    loads = [line for line in lines if line["kind"] == "load" and line["phase"] == "run"]
    workloads = list(dict.fromkeys(line["workload"] for line in loads))
    width = max(1, len(workloads))
    figure, panels = pyplot.subplots(1, width, figsize=(4.6 * width, 4.2), squeeze=False)
    for panel, workload in zip(panels[0], workloads, strict=False):
        own = [line for line in loads if line["workload"] == workload]
        counts = {line["connections"] for line in own}
        at = 64 if 64 in counts else max(counts)
        rates: dict[str, list[float]] = {}
        for line in own:
            if line["connections"] == at:
                rates.setdefault(line["peer"], []).append(line["rps"] * (100 if workload == "stream" else 1))
        medians = sorted(((statistics.median(values), peer) for peer, values in rates.items()))
        names = [peer for _, peer in medians]
        bars = panel.barh(names, [rate for rate, _ in medians], color=[COLOURS.get(name, "#7c9fc0") for name in names])
        panel.bar_label(bars, [f"{rate:,.0f}" for rate, _ in medians], padding=3, fontsize=8)
        panel.set_xscale("log")
        panel.set_xlim(right=max(rate for rate, _ in medians) * 6)
        panel.set_title(f"{workload}, {at} connections")
        panel.set_xlabel("tokens per second" if workload == "stream" else "requests per second")
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
