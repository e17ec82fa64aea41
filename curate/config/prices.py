"""What things cost, for `curate plan --like RUN --prices FILE`; what is not named is free."""

from typing import Annotated

from pydantic import Field

from curate.config.model import Model

Price = Annotated[float, Field(ge=0)]


class Prices(Model):
    """Prices in a currency of the user's own."""

    currency: str = ""
    worker_hour: Price = 0.0
    gpu_hour: Price = 0.0
    gigabyte_month: Price = 0.0
    months: Price = 1.0
    million_reads: Price = 0.0
    million_writes: Price = 0.0
