"""Stage two: the perturbation that moves every variation's embedding away from the person."""
