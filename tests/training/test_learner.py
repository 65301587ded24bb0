"""One update: sums of gradients, running statistics, the moving average, schedules."""

import pytest
import torch
from torch import nn
from toy_task import Network, ToyTask

import children
from mlla.training import Launch, LoopSettings, cosine_schedule, poly_schedule, step_schedule
from mlla.training.learner import Learner
from mlla.training.portions import portions_of


class Plain(ToyTask):
    """Nothing random, and no batch norm."""

    def build_model(self):
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def loss(self, model, batch, moment):
        vectors, labels = batch
        return {"loss": nn.functional.cross_entropy(model(vectors), labels)}


def learner(task, **changes):
    settings = LoopSettings(**{"epochs": 4, "batch": 8, **changes})
    launch = Launch(settings.precision, "cpu")
    return Learner(task, settings, launch, portions_of(settings, 1), updates_per_epoch=3)


def batches(num_samples, size):
    torch.manual_seed(5)
    vectors, labels = torch.randn(num_samples, 6), torch.arange(num_samples) % 3
    return list(zip(vectors.split(size), labels.split(size), strict=True))


def check_in_child(check):
    assert children.run(check) == [0]


def test_passes_add_up_to_the_whole_batch():
    def check():
        one, two = learner(Plain()), learner(Plain(), forward_batch=2)
        for _ in range(4):
            one.update(iter(batches(8, 8)), 0)
            two.update(iter(batches(8, 2)), 0)
        for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)

    check_in_child(check)


def test_running_statistics_move_by_the_mean_of_the_passes():
    def check():
        made = learner(ToyTask(), forward_batch=2, ema_decay=None)
        norm = made.network.norm
        start = norm.running_var.clone()
        expected = []
        handle = norm.register_forward_hook(
            lambda module, inputs, _: expected.append(
                0.9 * start + 0.1 * inputs[0].detach().var(dim=0)
            )
        )
        made.update(iter(batches(8, 2)), 0)
        handle.remove()
        assert len(expected) == 4
        torch.testing.assert_close(norm.running_var, torch.stack(expected).mean(dim=0))
        assert norm.num_batches_tracked == 1

    check_in_child(check)


def test_the_moving_average_is_the_published_one_later_and_shorter_early():
    def check():
        made = learner(Plain(), ema_decay=0.3)
        expected = made.network[0].weight.detach().clone()
        for update in range(1, 8):
            made.update(iter(batches(8, 8)), 0)
            # timm counts the first update as none
            decay = min(0.3, (update - 1) / (10 + update - 1))
            expected = decay * expected + (1 - decay) * made.network[0].weight.detach()
            torch.testing.assert_close(made.average.module[0].weight, expected)
        assert made.scored_network is made.average.module

    check_in_child(check)


def test_gradients_are_clipped():
    def check():
        seen = []

        class Watched(Plain):
            def build_optimizer(self, model):
                optimizer = super().build_optimizer(model)
                optimizer.register_step_pre_hook(
                    lambda *_: seen.append(
                        torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
                    )
                )
                return optimizer

        for limit in (None, 0.01):
            learner(Watched(), clip_grad_norm=limit).update(iter(batches(8, 8)), 0)
        assert seen[0] > 0.1
        assert seen[1] == pytest.approx(0.01, rel=1e-3)

    check_in_child(check)


def test_what_gradient_checkpointing_needs():
    def check():
        with pytest.raises(ValueError, match="Sequential has no set_grad_checkpointing"):
            learner(Plain(), gradient_checkpointing=True)

    check_in_child(check)


def test_half_precision_multiplies_in_it():
    def check():
        types = set()

        class Watched(Plain):
            def build_model(self):
                model = super().build_model()
                model[0].register_forward_hook(lambda *args: types.add(args[2].dtype))
                return model

        learner(Watched(), precision="bf16").update(iter(batches(8, 8)), 0)
        assert types == {torch.bfloat16}

    check_in_child(check)


def test_precisions_may_follow_each_other_in_one_python_process():
    def check():
        for precision in ("bf16", "fp32"):
            with Launch(precision, "cpu").autocast():
                product = torch.ones(2, 2) @ torch.ones(2, 2)
            assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)

    check_in_child(check)


def test_a_cpu_does_not_multiply_in_fp16():
    def check():
        with pytest.raises(ValueError, match="precision=fp16 needs a GPU"):
            Launch("fp16", "cpu")

    check_in_child(check)


def rates(schedule, optimizer, updates):
    found = []
    for update in range(updates):
        schedule.step_update(update)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def optimizer():
    return torch.optim.SGD(Network().parameters(), lr=1.0)


def test_steps_begin_with_the_update_of_the_milestone():
    made = optimizer()
    found = rates(step_schedule(made, [4, 6], warmup_updates=2, warmup_lr=0.5), made, 8)
    assert found == pytest.approx([0.5, 0.75, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_poly_falls_in_a_straight_line():
    made = optimizer()
    found = rates(poly_schedule(made, 10, warmup_updates=2), made, 10)
    assert found == pytest.approx([0, 0.5, *(1 - update / 10 for update in range(2, 10))])


def test_cosine_falls_to_its_end():
    made = optimizer()
    found = rates(cosine_schedule(made, 8, warmup_updates=1, warmup_lr=0.1, min_lr=0.2), made, 8)
    assert found[0] == 0.1
    assert found[4] == pytest.approx(0.6)
    assert found[1:] == sorted(found[1:], reverse=True)
    assert found[-1] > 0.2
