"""`python -m apply_service`: runs the apply service."""

from __future__ import annotations

from apply_service.commands import serve_apply
from facecloak_rpc.command import run_as_program

if __name__ == "__main__":
    run_as_program(serve_apply, prog_name="apply_service")
