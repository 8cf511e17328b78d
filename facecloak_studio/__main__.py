"""Entry point: `python -m facecloak_studio`, the same as `facecloak studio`."""

from facecloak_rpc.command import run_as_program
from facecloak_studio.command import studio

if __name__ == "__main__":
    run_as_program(studio, prog_name="facecloak studio")
