"""Gray photos: shown to the rest of the program as three equal channels, and back to one."""

from __future__ import annotations

import cv2
import numpy as np


def gray_to_rgb(gray_u8: np.ndarray) -> np.ndarray:
    """(H, W) uint8 to (H, W, 3) uint8."""
    return np.repeat(gray_u8[:, :, None], 3, axis=2)


def rgb_to_gray(srgb_u8: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (H, W) uint8 luma (ITU-R BT.601, as JFIF has it); exact where the three channels are equal.

    So what a mask adds to a gray photo is the mask's luma.
    """
    return cv2.cvtColor(srgb_u8, cv2.COLOR_RGB2GRAY)
