"""Who calls: proven by a client certificate or a token, mapped to a tenant and to rights."""

from facecloak_rpc.identity.authenticator import Authenticator
from facecloak_rpc.identity.caller import ANYBODY, Caller, Right, current_caller
from facecloak_rpc.identity.settings import IdentitySettings

__all__ = ["ANYBODY", "Authenticator", "Caller", "IdentitySettings", "Right", "current_caller"]
