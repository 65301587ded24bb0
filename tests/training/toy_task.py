"""A small task with everything that could differ between processes or between two starts."""

import random

import torch
from timm.layers import DropPath
from torch import nn
from torch.nn import functional

from mlla.training import Samples, adamw, cosine_schedule, evaluation_batches


class NoisySamples:
    """Vectors that lean to one of three directions, with noise from three generators."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        noise = torch.randn(6) + random.random()
        label = index % 3
        return noise + 2 * functional.one_hot(torch.tensor(label), 6), label


class Network(nn.Module):
    """A batch norm, drop path and dropout."""

    def __init__(self):
        super().__init__()
        # a bias before a batch norm has no gradient but rounding, which AdamW would scale up
        self.first = nn.Linear(6, 16, bias=False)
        self.norm = nn.BatchNorm1d(16)
        self.branch = nn.Linear(16, 16)
        self.skip = DropPath(0.3)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        return self.last(self.drop(x + self.skip(self.branch(x))))


class ToyTask:
    best_figure = "accuracy"

    def __init__(self, lr=0.01, on_epoch=lambda epoch: None):
        self.lr = lr
        self.on_epoch = on_epoch

    def arguments(self):
        return {"task": "toy", "lr": self.lr}

    def build_model(self):
        return Network()

    def build_optimizer(self, model):
        return adamw(model, lr=self.lr, weight_decay=0.05)

    def build_schedule(self, optimizer, *, epochs, updates_per_epoch):
        return cosine_schedule(optimizer, epochs * updates_per_epoch, warmup_updates=3)

    def training_samples(self):
        return Samples(NoisySamples())

    def loss(self, model, batch, moment):
        self.on_epoch(moment.epoch)
        vectors, labels = batch
        # as mixing does: one number for all samples of a forward pass
        mixed = vectors + random.random() * vectors.flip(0)
        return {"cross_entropy": functional.cross_entropy(model(mixed), labels)}

    def evaluate(self, model, launch, folder):
        torch.manual_seed(1)
        samples = [(torch.randn(6), index % 3) for index in range(11)]
        hits = []
        for indices, (vectors, labels) in evaluation_batches(samples, launch, batch=4, workers=0):
            right = model(vectors).argmax(1) == labels
            hits += list(zip(indices, right.tolist(), strict=True))
        hits = launch.gather(hits)
        assert sorted(index for index, _ in hits) == list(range(11))
        return {"accuracy": sum(right for _, right in hits) / len(hits)}

    def save(self, model, folder):
        torch.save(model.state_dict(), folder / "weights.pt")
