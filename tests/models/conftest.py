"""Small networks and the pulled model repository."""

from tests.models.networks import crops, make_network, pulled

__all__ = ["crops", "make_network", "pulled"]
