"Fixtures that every test may use."
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    "The folder of real images beside the repository; tests that need it are skipped without it."
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder.name} is not at ../shared/data")
    return folder
