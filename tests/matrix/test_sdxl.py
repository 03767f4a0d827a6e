"""The matrix of SDXL."""

from tests.matrix.cases import Matrix
from tests.matrix.models import SDXL


class TestSDXL(Matrix):
    model = SDXL
