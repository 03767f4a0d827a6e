"""The matrix of SD1."""

from tests.matrix.cases import Matrix
from tests.matrix.models import SD1


class TestSD1(Matrix):
    model = SD1
