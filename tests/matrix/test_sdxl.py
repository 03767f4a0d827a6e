"""The matrix of SDXL."""

import pytest

from tests.matrix.cases import VARIANTS, Matrix
from tests.matrix.models import SDXL


class TestSDXL(Matrix):
    model = SDXL


@pytest.mark.slow
class TestEveryVariantOfSDXL(TestSDXL):
    variants = VARIANTS
