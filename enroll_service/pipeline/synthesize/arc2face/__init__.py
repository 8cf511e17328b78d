"""The Arc2Face synthesizer: new pictures of the person, drawn by a diffusion model from the face's embedding alone.

Paraperas Papantoniou et al., "Arc2Face: A Foundation Model for ID-Consistent Human Faces", ECCV 2024 (arXiv
2403.11641). Needs the extra `diffusion`, weights that the operator brought (docs/arc2face.md) and, to be quick, a GPU.
"""
