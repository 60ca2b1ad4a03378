"""Rows of measurements as lines, a table and pictures."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def ours(row: Row) -> str:
    """Lamella's fastest form, or nothing."""
    names = [n for n in row["peers"] if n.startswith("lamella")]
    return min(names, key=lambda n: float(row["peers"][n]["seconds"]), default="")


def ratio(row: Row) -> tuple[float, str]:
    """How many times the best peer's speed, and which peer that is."""
    others = {n: p["seconds"] for n, p in row["peers"].items() if not n.startswith("lamella")}
    if not others or not ours(row):
        return float("nan"), "-"
    best = min(others, key=lambda n: others[n])
    return others[best] / row["peers"][ours(row)]["seconds"], best


def line(row: Row) -> str:
    """One row on one line; ~ marks those measured while other processes were busy."""
    times, best = ratio(row)
    values = "  ".join(f"{n} {p['value']:.4g} (±{p['spread'] / 2:.0%})" for n, p in row["peers"].items())
    busy = " ~" if max((p["foreign"] for p in row["peers"].values()), default=0) > 0.15 else ""
    return f"{row['threads']}T {row['case']:<44} {times:6.2f}x of {best:<20} {row['unit']:<8} {values}{busy}"


def table(rows: list[Row]) -> str:
    """Markdown: per case and thread count Lamella's figure and its ratio to the best peer."""
    counts = sorted({r["threads"] for r in rows})
    by_case: dict[str, dict[int, Row]] = {}
    for r in rows:
        by_case.setdefault(r["case"], {})[r["threads"]] = r
    head = "".join(f" {t} thread{'s' * (t > 1)} | times | best peer |" for t in counts)
    out = [f"| case | unit |{head}", "| --- | --- |" + " ---: | ---: | --- |" * len(counts)]
    for case, found in by_case.items():
        cells = ""
        for t in counts:
            row = found.get(t)
            if row is None or not ours(row):
                cells += " | | |"
                continue
            times, best = ratio(row)
            other = f"{best} {row['peers'][best]['value']:.4g}" if best != "-" else ""
            cells += f" {row['peers'][ours(row)]['value']:.4g} | {times:.2f} | {other} |"
        out.append(f"| {case} | {next(iter(found.values()))['unit']} |{cells}")
    return "\n".join(out)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plot(rows: list[Row], path: str) -> None:
    """Bars of the ratios, one per row and thread count."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(10, 0.24 * len(rows) + 1))
    rows = sorted(rows, key=lambda r: [x["case"] for x in rows].index(r["case"]))
    ratios = [ratio(r)[0] for r in rows]
    names = [f"{r['case']} ({r['threads']}T, {ratio(r)[1]})" for r in rows]
    axis.barh(names, [r - 1 for r in ratios], left=1, color=["tab:green" if r >= 1 else "tab:red" for r in ratios])
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.tick_params(axis="x", which="minor", labelsize=6)
    axis.set_xlabel("times the speed of the best peer, which stands in the brackets")
    axis.margins(y=0.005)
    axis.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def plot_sweeps(rows: list[Row], path: str) -> None:
    """Time against size: a panel per sweep, a colour per framework, a line style per thread count."""
    plt = _pyplot()
    sweeps = list(dict.fromkeys((r["sweep"], r["axis"]) for r in rows))
    names = list(dict.fromkeys(n for r in rows for n in r["peers"]))
    counts = sorted({r["threads"] for r in rows})
    columns = min(3, len(sweeps))
    height = -(-len(sweeps) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(5 * columns, 3.8 * height), squeeze=False)
    for axis in axes.flat[len(sweeps) :]:
        axis.set_visible(False)
    for axis, sweep in zip(axes.flat, sweeps, strict=False):
        for i, name in enumerate(names):
            for j, threads in enumerate(counts):
                chosen = [r for r in rows if (r["sweep"], r["axis"]) == sweep and r["threads"] == threads]
                points = [(r["size"], r["peers"][name]["seconds"] * 1e6) for r in chosen if name in r["peers"]]
                if points:
                    style = {"color": f"C{i}", "linestyle": ("--", "-", ":", "-.")[j % 4]}
                    axis.plot(*zip(*points, strict=True), marker=".", label=f"{name}, {threads}T", **style)
        axis.set(xscale="log", yscale="log", title=sweep[0], xlabel=sweep[1], ylabel="us")
        sizes = sorted({r["size"] for r in rows if (r["sweep"], r["axis"]) == sweep})
        axis.set_xticks(sizes, [str(n) for n in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def plot_memory(rows: list[Row], path: str) -> None:
    """Bars of the peaks, Lamella's beside PyTorch's."""
    plt = _pyplot()
    figure, axis = plt.subplots(figsize=(8, 0.5 * len(rows) + 1))
    for i, name in enumerate(("lamella", "torch")):
        axis.barh([y + 0.4 * i for y in range(len(rows))], [r[name] for r in rows], height=0.38, label=name)
    axis.set_yticks([y + 0.2 for y in range(len(rows))], [r["case"] for r in rows])
    axis.set(xscale="log", xlabel="MiB at most in training steps")
    axis.invert_yaxis()
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
