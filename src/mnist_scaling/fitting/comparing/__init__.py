"""Two arms compared, such as two optimisers or the same grid with and without dropout."""

from mnist_scaling.fitting.comparing.comparison import Comparison, ComparisonOptions, compare
from mnist_scaling.fitting.comparing.pairing import Arm

__all__ = ["Arm", "Comparison", "ComparisonOptions", "compare"]
