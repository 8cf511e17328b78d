"""What the demo shows in the terminal at its end."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from demo.measure import mean_of
from demo.report import Findings

_COLUMNS_LIMIT = 3
_ARROW_WIDTH = len("0.00 → -0.00")


def show(console: Console, findings: Findings, *, report: Path) -> None:
    """Prints the table of similarities, what it does not say, and where the report is."""
    console.print(_table(findings))
    if findings.remark:
        console.print(f"[yellow]{findings.remark}[/yellow]")
    console.print(
        "Only the row that enrollment has never seen says anything about the recognizers of others; "
        "a few photos of one person are no rate of protection."
    )
    console.print(f"Enrollment took {findings.enroll_seconds:.0f} s. Pictures and figures: [bold]{report}[/bold]")


def _table(findings: Findings) -> Table:
    # Narrow enough for 80 columns; with many photos the report has each.
    shown = findings.comparisons if len(findings.comparisons) <= _COLUMNS_LIMIT else []
    table = Table(
        title=f"Cosine similarity to {findings.enrolled_name}, before → after cloaking",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("recognizer", no_wrap=True)
    table.add_column("role", no_wrap=True)
    for item in shown:
        table.add_column(item.name, justify="right", min_width=_ARROW_WIDTH)
    table.add_column(f"mean of {len(findings.comparisons)}", justify="right", min_width=_ARROW_WIDTH)
    table.add_column("strangers", justify="right", no_wrap=True)
    befores = [item.before for item in findings.comparisons]
    afters = [item.after for item in findings.comparisons]
    for name in findings.recognizers:
        others = [row[name] for row in findings.strangers if name in row]
        table.add_row(
            name,
            "surrogate" if name != findings.unseen else "[bold]never seen[/bold]",
            *(_arrow(item.before.get(name), item.after.get(name)) for item in shown),
            f"[bold]{_arrow(mean_of(befores, name), mean_of(afters, name))}[/bold]",
            f"≤ {max(others):.2f}" if others else "-",
            end_section=name == findings.enrollment.surrogates[-1],
        )
    return table


def _arrow(before: float | None, after: float | None) -> str:
    return f"{'-' if before is None else f'{before:.2f}'} → {'no face' if after is None else f'{after:.2f}'}"
