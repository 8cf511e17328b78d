"""Which right each method asks for. A method that is not here is refused to all who have to prove who they are."""

from __future__ import annotations

from collections.abc import Mapping

from facecloak_rpc.identity.caller import Caller, Right
from facecloak_rpc.identity.errors import RightMissing

RIGHTS: Mapping[str, Right] = {
    "facecloak.v1.EnrollService/EnrollUser": Right.ENROLL,
    "facecloak.v1.EnrollService/GetEnrollment": Right.READ,
    "facecloak.v1.EnrollService/ListEnrollments": Right.READ,
    "facecloak.v1.EnrollService/DeleteUser": Right.DELETE,
    "facecloak.v1.ApplyService/ApplyCloak": Right.APPLY,
    "facecloak.v1.ApplyService/ApplyCloakStream": Right.APPLY,
    # Names no user; it is asked before a photo is cloaked, by who cloaks it.
    "facecloak.v1.ApplyService/FindFaces": Right.APPLY,
}


def require_right(caller: Caller, method: str, *, rights: Mapping[str, Right] = RIGHTS) -> None:
    """Raises RightMissing unless the caller may call the method (``package.Service/Method``)."""
    right = rights.get(method)
    if caller.is_known and right is None:
        raise RightMissing("nobody may call this method")
    if right is not None and right not in caller.rights:
        raise RightMissing(f"this call needs the right to {right}", right=right)
