"""The matrix of SD1."""

import pytest

from tests.matrix.cases import VARIANTS, Matrix
from tests.matrix.models import SD1


class TestSD1(Matrix):
    model = SD1


@pytest.mark.slow
class TestEveryVariantOfSD1(TestSD1):
    variants = VARIANTS
