"""The matrix of SD2, which predicts the velocity, with a UNet of batch 1, for the newest systems."""

import pytest

from tests.matrix.cases import VARIANTS, Matrix
from tests.matrix.models import SD2


class TestSD2(Matrix):
    model = SD2
    batch = 1
    system = "macOS15"


@pytest.mark.slow
class TestEveryVariantOfSD2(TestSD2):
    variants = VARIANTS
