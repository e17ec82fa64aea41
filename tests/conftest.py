"""What all tests share: on a busy machine an example may take long, which is no fault of the code."""

from hypothesis import settings

settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")
