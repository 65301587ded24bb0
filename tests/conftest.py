import pytest
import torch
from hypothesis import settings

# one thread: the machines that run this share their cores, and small tensors gain nothing
torch.set_num_threads(1)
settings.register_profile("mlla", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("mlla")


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)
