"""Stage three: the perturbation as the person's mask, held to its budget at the photo's own size and measured."""
