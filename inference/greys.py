"""What greys of a CT picture mean, where Hounsfield units are lost: reckoned from lung and soft tissue."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.decisions import CONSOLIDATION_FROM_HU

#: Usual attenuation of healthy lung and of soft tissue, and their greys in a picture that has none of them.
_LUNG_HU, _TISSUE_HU = -850.0, 40.0
_LUNG_GREY, _TISSUE_GREY = 50.0, 150.0
#: Soft tissue is brighter than lung by at least this; what is darker is air around the patient.
_LEAST_CONTRAST = 25.0


def dense_by_grey(
    picture: NDArray[np.uint8],
    healthy_yx: NDArray[np.bool_],
    outside_yx: NDArray[np.bool_],
    smoothing_px: float,
) -> NDArray[np.bool_]:
    """Tell where a picture is as bright as `CONSOLIDATION_FROM_HU` would be.

    Parameters
    ----------
    picture
        (y, x) uint8, greys about linear in density.
    healthy_yx, outside_yx
        (y, x) bool: lung without lesion, and what is not lung.
    smoothing_px
        Standard deviation of the smoothing before the grey decides, pixels.
    """
    healthy, outside = picture[healthy_yx], picture[outside_yx]
    lung = float(np.median(healthy)) if healthy.size else _LUNG_GREY
    outside = outside[outside > lung + _LEAST_CONTRAST]
    tissue = float(np.median(outside)) if outside.size else max(_TISSUE_GREY, lung + _LEAST_CONTRAST)
    share = (CONSOLIDATION_FROM_HU - _LUNG_HU) / (_TISSUE_HU - _LUNG_HU)
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), smoothing_px)
    return np.asarray(smooth >= lung + share * (tissue - lung))
