"""Animations (GIF, APNG, animated WebP): their frames as pictures, and back with the same timing."""

from facecloak.photos.animation.frames import Animation, decode_animation, frame_as_png, still_of
from facecloak.photos.animation.header import AnimationHeader, read_animation

__all__ = ["Animation", "AnimationHeader", "decode_animation", "frame_as_png", "read_animation", "still_of"]
