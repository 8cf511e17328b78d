"""What gRPC itself does for a client: balances, looks at health, and tries again (service config,
https://github.com/grpc/proposal/blob/master/A6-client-retries.md).

Servers send ``grpc-retry-pushback-ms`` with what may be repeated: gRPC then waits as long as they ask for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from facecloak_client.errors import RETRYABLE_CODES

APPLY_SERVICE = "facecloak.v1.ApplyService"
ENROLL_SERVICE = "facecloak.v1.EnrollService"

# What may be repeated as it is. Streams are not gRPC's to repeat once they have begun: the client does it itself.
_REPEATABLE = {
    APPLY_SERVICE: ("ApplyCloak", "FindFaces"),
    ENROLL_SERVICE: ("GetEnrollment", "ListEnrollments", "DeleteUser"),
}
GRPC_MOST_ATTEMPTS = 5
"""gRPC makes no more, whatever it is told."""


@dataclass(frozen=True)
class Retries:
    """How often and how soon what failed is tried again, if its code says that this may help.

    A delay that the service asks for goes before the ones here. ``attempts`` counts the first one: 1 never repeats.
    The defaults outlast the seconds that servers take to come back, where all went away at once.
    """

    attempts: int = 5
    first_delay_s: float = 0.4
    longest_delay_s: float = 5.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= GRPC_MOST_ATTEMPTS:
            raise ValueError(f"attempts must be 1 to {GRPC_MOST_ATTEMPTS}")
        if not 0 < self.first_delay_s <= self.longest_delay_s or self.factor < 1:
            raise ValueError("delays must be positive, the longest no shorter than the first, and the factor 1 or more")

    def delay_s(self, attempt: int) -> float:
        """Longest delay before attempt ``attempt`` + 1, where the service names none; the first is 1."""
        return float(min(self.longest_delay_s, self.first_delay_s * self.factor ** (attempt - 1)))


def service_config(service: str, *, retries: Retries, health_checks: bool) -> str:
    """The JSON of one service's channel.

    Args:
        health_checks: whether calls go only to servers whose health says that they serve.
    """
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if health_checks:
        config["healthCheckConfig"] = {"serviceName": service}
    if retries.attempts > 1:
        config["methodConfig"] = [
            {
                "name": [{"service": service, "method": method} for method in _REPEATABLE.get(service, ())],
                "retryPolicy": {
                    "maxAttempts": retries.attempts,
                    "initialBackoff": f"{retries.first_delay_s:.3f}s",
                    "maxBackoff": f"{retries.longest_delay_s:.3f}s",
                    "backoffMultiplier": retries.factor,
                    "retryableStatusCodes": sorted(code.name for code in RETRYABLE_CODES),
                },
            }
        ]
        # Where most calls fail, repeating them makes it worse: then gRPC leaves it until some succeed again.
        config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.1}
    return json.dumps(config)
