"""What the demo shows in the terminal at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from demo.measure import mean_of
from demo.report import Findings


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
    table = Table(title=f"Cosine similarity to the person of {findings.enrolled_name}, from the files that came back")
    table.add_column("recognizer")
    table.add_column("role")
    for item in findings.comparisons:
        table.add_column(f"{item.name}\nbefore → after", justify="right")
    table.add_column("mean\nbefore → after", justify="right")
    table.add_column("other\npeople", justify="right")
    befores = [item.before for item in findings.comparisons]
    afters = [item.after for item in findings.comparisons]
    for name in findings.recognizers:
        table.add_row(
            name,
            "surrogate" if name != findings.unseen else "[bold]never seen[/bold]",
            *(_arrow(item.before.get(name), item.after.get(name)) for item in findings.comparisons),
            f"[bold]{_arrow(mean_of(befores, name), mean_of(afters, name))}[/bold]",
            ", ".join(f"{row[name]:.2f}" for row in findings.strangers if name in row),
            end_section=name == findings.enrollment.surrogates[-1],
        )
    return table


def _arrow(before: float | None, after: float | None) -> str:
    return f"{'-' if before is None else f'{before:.2f}'} → {'no face' if after is None else f'{after:.2f}'}"
