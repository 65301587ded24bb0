"""Studies whose truth is known, to test the statistics with.

Every run has a skill, every image and object a difficulty, and every run finds some images easier
than others. Skill less difficulty decides how well a box fits and, with noise, its score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlla.study.scoring.matches import Matches

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
BASELINE_SKILL = 0.3


@dataclass(frozen=True)
class World:
    """What varies in a simulated study, in units of skill.

    Attributes:
        seed_spread: Standard deviation of the skill over seeds.
        image_spread: Standard deviation of the difficulty over images.
        object_spread: Standard deviation of the difficulty over objects of an image.
        interaction_spread: Standard deviation over pairs of run and image.
        arm_spread: Standard deviation over pairs of arm and image: what all runs of an arm find
            easy that those of the other do not.
        num_classes: Number of classes.
        objects_per_image: Mean number of objects.
        false_per_image: Mean number of detections of nothing.
    """

    seed_spread: float = 0.1
    image_spread: float = 0.5
    object_spread: float = 0.5
    interaction_spread: float = 0.3
    arm_spread: float = 0.0
    num_classes: int = 3
    objects_per_image: float = 4.0
    false_per_image: float = 2.0


@dataclass(frozen=True)
class Images:
    """A simulated test set: the image, class and difficulty of every object."""

    num_images: int
    image: np.ndarray
    category: np.ndarray
    difficulty: np.ndarray


def draw_test_set(world: World, num_images: int, generator: np.random.Generator) -> Images:
    """Draw the images of a study."""
    counts = 1 + generator.poisson(world.objects_per_image - 1, num_images)
    image = np.repeat(np.arange(num_images), counts)
    difficulty = generator.normal(0, world.image_spread, num_images)[image]
    difficulty += generator.normal(0, world.object_spread, len(image))
    category = generator.integers(world.num_classes, size=len(image))
    return Images(num_images, image, category, difficulty)


def draw_run(
    world: World,
    images: Images,
    mean_skill: float | np.ndarray,
    generator: np.random.Generator,
) -> Matches:
    """Draw the matches of one trained model: a seed of an arm with this mean skill by image."""
    skill = np.broadcast_to(mean_skill + generator.normal(0, world.seed_spread), images.num_images)
    liking = generator.normal(0, world.interaction_spread, images.num_images)
    quality = (skill + liking)[images.image] - images.difficulty
    iou = 1 / (1 + np.exp(-(quality + 1.0)))
    num_false = generator.poisson(world.false_per_image * images.num_images)
    image = np.concatenate([images.image, generator.integers(images.num_images, size=num_false)])
    category = np.concatenate(
        [images.category, generator.integers(world.num_classes, size=num_false)]
    )
    score = np.concatenate(
        [
            quality + generator.normal(0, 0.5, len(quality)),
            generator.normal(-0.8, 0.7, num_false),
        ]
    )
    fit = np.concatenate([iou, np.zeros(num_false)])
    order = np.lexsort((-score, category))
    first = np.searchsorted(category[order], np.arange(world.num_classes + 1))
    objects = np.zeros((world.num_classes, images.num_images), dtype=np.int64)
    np.add.at(objects, (images.category, images.image), 1)
    hit = fit[order] >= IOU_THRESHOLDS[:, None]
    return Matches(first, image[order], score[order], hit, np.zeros_like(hit), objects)


def draw_study(
    world: World, num_seeds: int, num_images: int, effect: float, generator: np.random.Generator
) -> dict[str, dict[int, Matches]]:
    """Draw a study of two arms, "baseline" and "arm", whose skill is higher by `effect`."""
    images = draw_test_set(world, num_images, generator)
    (of_arms,) = generator.spawn(1)
    study = {}
    for name, shift in (("baseline", 0.0), ("arm", effect)):
        skill = BASELINE_SKILL + shift + of_arms.normal(0, world.arm_spread, num_images)
        study[name] = {seed: draw_run(world, images, skill, generator) for seed in range(num_seeds)}
    return study


class Truth:
    """Mean AP over all images and seeds, as very many images tell it.

    Args:
        world: What varies; whatever its spread over seeds.
        num_images: Images to estimate from.
    """

    def __init__(self, world: World = World(), num_images: int = 4000) -> None:
        generator = np.random.default_rng(12345)
        images = draw_test_set(world, num_images, generator)
        everything = np.ones((1, num_images), dtype=np.int64)
        # over all images, an arm and a run that like some better are the same
        liking = float(np.hypot(world.interaction_spread, world.arm_spread))
        fixed = replace(world, seed_spread=0.0, interaction_spread=liking)
        self.skills = np.linspace(BASELINE_SKILL - 0.6, BASELINE_SKILL + 1.2, 37)
        noisy = [
            draw_run(fixed, images, skill, generator).scores(everything)[0] for skill in self.skills
        ]
        # smooth, as the true curve is
        self.curve = np.polynomial.Polynomial.fit(self.skills, noisy, 5)

    def difference(self, effect: float, seed_spread: float) -> float:
        """Return the true difference of mean AP between two arms."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(9)
        means = [
            np.average(self.curve(BASELINE_SKILL + shift + seed_spread * nodes), weights=weights)
            for shift in (0.0, effect)
        ]
        return float(means[1] - means[0])

    def effect(self, difference: float, seed_spread: float) -> float:
        """Return the effect on skill that makes a difference of mean AP."""
        effects = np.linspace(0.0, 1.0, 101)
        differences = [self.difference(effect, seed_spread) for effect in effects]
        return float(np.interp(difference, differences, effects))
