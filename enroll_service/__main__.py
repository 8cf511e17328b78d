"""`python -m enroll_service`: runs the enrollment service."""

from __future__ import annotations

from enroll_service.commands.serve import serve_enroll
from facecloak_rpc.command import run_as_program

if __name__ == "__main__":
    run_as_program(serve_enroll, prog_name="enroll_service")
