"""Entry point: `python -m facecloak_backfill`, the same as `facecloak backfill`."""

from facecloak_backfill.command import backfill
from facecloak_rpc.command import run_as_program

if __name__ == "__main__":
    run_as_program(backfill, prog_name="facecloak backfill")
