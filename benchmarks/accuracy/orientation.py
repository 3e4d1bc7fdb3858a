"""How pictures are turned before a model sees them, so that all show the patient as the node does.

The node shows a slice with the spine at the bottom and the patient's left on the right. Published pictures
stand in other ways, which was found by looking at them: the heart, the arch of the aorta and the liver tell
left from right.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Orientation:
    """What is done to every picture and its masks, in this order.

    Parameters
    ----------
    upside_down
        Cases, by a shell pattern of their names, whose rows run from the back to the front; they are
        reversed. Empty for none.
    rotate
        Degrees counter-clockwise: 0, 90, 180 or 270.
    mirror
        Whether columns are reversed at last.
    """

    upside_down: str = ""
    rotate: int = 0
    mirror: bool = False

    def apply(self, picture: NDArray[_Value], case: str) -> NDArray[_Value]:
        """Return a picture (y, x) of a case as the model is to see it."""
        turned = picture[::-1] if fnmatchcase(case, self.upside_down) else picture
        turned = np.rot90(turned, self.rotate // 90)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirror else turned)
