"""The study of the six designs, but for its trainings: images, plan, scores, words and charts."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("accelerate")
pytest.importorskip("scipy")
pytest.importorskip("filelock")
pytest.importorskip("matplotlib")
from made_up_six_designs import CLASSES, request, write_images, write_study

from mlla.cli.arguments import UsageError
from mlla.cli.study import read_arguments
from mlla.data import DataError
from mlla.study.report.numbers import DASH, MINUS
from mlla.study.six_designs.image_folders import read_images, refuse_changed_images
from mlla.study.six_designs.image_hits import read_hits
from mlla.study.six_designs.page import csv_table, write_report
from mlla.study.six_designs.plan import continued, num_claims, plan_text, started
from mlla.study.six_designs.published_effects import (
    ROW_NAMES,
    published_effects,
    published_row,
    sign_here,
)
from mlla.study.six_designs.results import collect
from mlla.study.six_designs.row_costs import row_costs
from mlla.study.six_designs.row_runs import finished_guards, make_job
from mlla.study.six_designs.settings import complete_settings
from mlla.study.six_designs.study import compare_six_designs
from mlla.study.six_designs.tables import answer, cost_table, effect_table
from mlla.study.six_designs.texts import TEXTS, texts_in
from mlla.study.statistics.verdict import Verdict, min_runs

TEXT = texts_in("en")


# -- what was published ------------------------------------------------------------------------


def test_published_effects_are_differences_of_the_printed_accuracies():
    # arXiv 2405.16605, Tables 1 and 2, subtracted by hand
    printed = {
        ("input_gate", 0.2), ("forget_gate", 0.8), ("shortcut", 0.2), ("no_norm", -5.2),
        ("single_head", -4.1), ("block_all", 1.8), ("block_sub", 3.3),
        ("ape", 1.6), ("lepe", 3.2), ("cpe", 3.3), ("rope", 1.6),
    }  # fmt: skip
    effects = published_effects()
    assert {(one.row, one.points) for one in effects} == printed
    assert {one.against for one in effects if one.table == 1} == {"baseline"}
    assert {one.against for one in effects if one.table == 2} == {"forget_gate"}


def test_effects_need_both_of_their_rows():
    assert [one.row for one in published_effects(["baseline", "lepe", "no_norm"])] == ["no_norm"]
    assert [one.row for one in published_effects(["forget_gate", "lepe"])] == ["lepe"]


def test_the_default_of_six_seeds_is_what_a_verdict_on_table_1_takes():
    assert num_claims(ROW_NAMES) == 7
    assert min_runs(7) == 6


@pytest.mark.parametrize(
    ("row", "verdict", "expected"),
    [
        ("lepe", Verdict.SUPPORTED, "supported"),
        ("lepe", Verdict.HARMFUL, "contrary"),
        ("no_norm", Verdict.HARMFUL, "supported"),
        ("no_norm", Verdict.SUPPORTED, "contrary"),
        ("lepe", Verdict.NOT_SUPPORTED, "undecided"),
        ("no_norm", Verdict.TOO_LITTLE_DATA, "undecided"),
    ],
)
def test_a_sign_holds_where_the_verdict_has_it(row, verdict, expected):
    effect = next(one for one in published_effects() if one.row == row)
    assert sign_here(effect, verdict) == expected


# -- scores ------------------------------------------------------------------------------------


def write_predictions(path, logits, targets, names="abc"):
    np.savez_compressed(
        path, images=np.array(list(names)), targets=targets, logits=np.float32(logits)
    )
    return read_hits(path)


def test_hits_are_the_images_whose_largest_logit_is_theirs(tmp_path):
    # the third is a tie, which goes to the class that comes first
    logits = [[2, 1, 0], [0, 5, 1], [3, 0, 3]]
    found = write_predictions(tmp_path / "a.npz", logits, [0, 2, 0])
    assert found.hits.tolist() == [True, False, True]
    assert (found.num_images, found.is_empty) == (3, False)
    copies = np.array([[1, 1, 1], [0, 3, 0], [2, 1, 0]])
    assert found.scores(copies).tolist() == pytest.approx([2 / 3, 0, 2 / 3])


def test_hits_know_the_images_they_are_of(tmp_path):
    logits = [[2, 1], [0, 5], [3, 0]]
    first = write_predictions(tmp_path / "a.npz", logits, [0, 1, 0])
    same = write_predictions(tmp_path / "b.npz", logits, [0, 1, 0])
    surer = write_predictions(tmp_path / "c.npz", np.multiply(logits, 2), [0, 1, 0])
    other_class = write_predictions(tmp_path / "d.npz", logits, [0, 1, 1])
    other_name = write_predictions(tmp_path / "e.npz", logits, [0, 1, 0], "abd")
    assert first.equals(same)
    assert first.has_images_of(surer)
    assert not first.equals(surer)
    assert not first.has_images_of(other_class)
    assert not first.has_images_of(other_name)


# -- images ------------------------------------------------------------------------------------


def test_one_folder_of_classes_is_split_in_equal_shares(tmp_path):
    found = read_images(write_images(tmp_path / "cells", 20), near_duplicates=False, quiet=True)
    assert found.class_names == CLASSES
    sizes = {split: len(images) for split, images in found.lists.items()}
    assert sizes == {"train": 24, "val": 8, "test": 8}
    for images in found.lists.values():
        of_class = [image.parent.name for image in images]
        assert of_class.count("cat") == of_class.count("dog")
    assert found.scored == "test"


def test_copies_stay_in_one_split(tmp_path):
    folder = write_images(tmp_path / "cells", 12)
    for number in range(12):
        shutil.copyfile(folder / "cat" / f"{number}.png", folder / "cat" / f"copy{number}.png")
    found = read_images(folder, near_duplicates=False, quiet=True)
    split_of = {image.name: split for split, images in found.lists.items() for image in images
                if image.parent.name == "cat"}  # fmt: skip
    assert all(split_of[f"{number}.png"] == split_of[f"copy{number}.png"] for number in range(12))
    assert found.leaks.identical == 0


def test_images_that_all_look_alike_cannot_be_split_unless_asked_to(tmp_path):
    folder = write_images(tmp_path / "cells", 3)
    with pytest.raises(DataError, match=r"cells: 1 group.*near_duplicates=False would keep"):
        read_images(folder, quiet=True)


def test_given_splits_are_kept_and_without_test_the_last_epoch_is_scored(tmp_path):
    write_images(tmp_path / "set" / "train", 6)
    write_images(tmp_path / "set" / "validation", 3, seed=1)
    found = read_images(tmp_path / "set", near_duplicates=False, quiet=True)
    assert {split: len(of) for split, of in found.lists.items()} == {"train": 12, "val": 6}
    plan = started(request(["baseline", "no_norm"], 1), found, tmp_path / "out")
    assert (plan["data"]["scored"], plan["checkpoint"]) == ("val", "last")
    assert plan["data"]["folder"] == str(tmp_path / "set")
    assert "no image chose the checkpoint" in plan_text(plan, tmp_path, num_done=0, where="here")


def test_an_image_in_two_splits_is_told(tmp_path):
    write_images(tmp_path / "set" / "train", 6)
    write_images(tmp_path / "set" / "val", 6, seed=1)
    shutil.copyfile(tmp_path / "set/train/cat/0.png", tmp_path / "set/val/cat/copy.png")
    found = read_images(tmp_path / "set", near_duplicates=False, quiet=True)
    plan = started(request(["baseline", "no_norm"], 1), found, tmp_path / "out")
    state = {one["name"]: one["state"] for one in plan["guards"]}
    assert state["near_duplicates_across_splits"] == "warning"


def test_changed_images_are_refused(tmp_path):
    found = read_images(write_images(tmp_path / "cells", 8), near_duplicates=False, quiet=True)
    found.write(tmp_path / "data")
    planned = found.to_dict(tmp_path / "data")
    refuse_changed_images(planned)
    next((tmp_path / "data" / "val" / "dog").iterdir()).unlink()
    with pytest.raises(DataError, match=r"val images in .* are not those"):
        refuse_changed_images(planned)


def test_a_study_removes_nothing_of_a_folder_that_it_did_not_make(tmp_path):
    images = read_images(write_images(tmp_path / "cells", 8), near_duplicates=False, quiet=True)
    (tmp_path / "images" / "mine").mkdir(parents=True)
    with pytest.raises(OSError, match="images"):
        images.write(tmp_path / "images")
    assert (tmp_path / "images" / "mine").is_dir()


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        read_images(tmp_path / "nowhere")


# -- settings and plan -------------------------------------------------------------------------


def test_the_published_size_is_trained_as_published():
    settings, recipe = complete_settings("tiny", {}, device="auto", loader_workers=4)
    # FACTS of the recipe: 300 epochs, batches of 4096 at 4e-3, 20 epochs of warm-up
    assert (settings["epochs"], settings["batch"]) == (300, 4096)
    assert (recipe["lr"], recipe["warmup_epochs"]) == (pytest.approx(4e-3), pytest.approx(20))
    assert (recipe["mixup"], recipe["cutmix"], recipe["mesa"]) == (0.8, 1.0, 0.0)
    assert recipe["drop_path"] == 0.2


def test_given_settings_reach_the_runs(tmp_path):
    settings, recipe = complete_settings(
        "mini", {"lr": 0.5, "batch": 8, "drop_path": 0.3}, device="cpu", loader_workers=0
    )
    plan = {
        **request(["baseline", "no_norm"], 1, settings=settings, recipe=recipe),
        "data": {"folder": "f", "scored": "test"},
        "checkpoint": "best",
    }
    job = make_job(plan, "no_norm", 3)
    assert (job["model"], job["seed"], job["kind"]) == ("linear_swin_mini_no_norm", 3, "classifier")
    assert (job["recipe"]["lr"], job["settings"]["batch"]) == (0.5, 8)
    assert job["model_args"] == {"img_size": 16, "drop_path_rate": 0.3}
    assert make_job(plan, "baseline", 0)["model"] == "linear_swin_mini"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "epoch= is no setting .* did you mean epochs"),
        ({"seed": 3}, "seed= is no setting"),
        ({"epochs": 0}, "epochs=0"),
        ({"lr": -1}, "lr=-1"),
    ],
)
def test_wrong_settings_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        complete_settings("mini", given, device="cpu", loader_workers=0)


def test_a_study_goes_on_only_with_the_same_question(tmp_path):
    plan, out = write_study(tmp_path, {"baseline": [0.5], "no_norm": [0.5]})
    source = tmp_path / "cells"
    asked = request(["baseline", "no_norm"], 1)
    assert continued(plan, asked, source, out) == plan
    more = continued(plan, {**asked, "seeds": [0, 1]}, source, out)
    assert more["seeds"] == [0, 1]
    assert [(one["from"], one["to"]) for one in more["extensions"]] == [(1, 2)]
    with pytest.raises(ValueError, match="would falsify it"):
        continued(more, asked, source, out)
    for changes, message in (
        ({"rows": ["baseline"]}, "its rows is"),
        ({"settings": {**asked["settings"], "epochs": 9}}, "its epochs is 2, not 9"),
        ({"recipe": {**asked["recipe"], "lr": 1.0}}, "its lr is 0.001, not 1.0"),
        ({"versions": {**asked["versions"], "torch": "9"}}, "torch 2, and 9"),
    ):
        with pytest.raises(ValueError, match=message):
            continued(plan, {**asked, **changes}, source, out)
    with pytest.raises(ValueError, match="its data is"):
        continued(plan, asked, tmp_path / "elsewhere", out)
    # another machine may read with more processes
    asked["settings"]["workers"] = 7
    assert continued(plan, asked, source, out) == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": ["baseline", "lepa"]}, "'lepa' is none"),
        ({"rows": ["baseline", "lepe"]}, "Table 2 need forget_gate"),
        ({"seeds": 0}, "seeds=0"),
        ({"margin": 5}, "margin=5"),
        ({"device": "0,1"}, "one CUDA device"),
        ({"language": "fr"}, "language='fr'"),
        ({"size": "huge"}, "size='huge' must be one of"),
        ({"executor": "slurm"}, "slurm_time|submitit"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(tmp_path, arguments, message):
    out = tmp_path / "out"
    with pytest.raises((ValueError, ModuleNotFoundError), match=message):
        compare_six_designs(write_images(tmp_path / "cells", 5), out=out, **arguments)
    assert not out.exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis.tex and no six_designs.json"):
        compare_six_designs(write_images(tmp_path / "cells", 5), out=tmp_path / "out")


# -- results -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Six seeds: normalisation helps, LePE beats the gate, the gate does nothing clear."""
    near = [0.50, 0.52, 0.51, 0.49, 0.50, 0.51]
    plan, out = write_study(
        tmp_path_factory.mktemp("made-up"),
        {
            "baseline": near,
            "forget_gate": near[::-1],
            "no_norm": [score + 0.3 for score in near],
            "lepe": [score + 0.4 for score in near],
        },
    )
    return plan, out, collect(plan, out)


def test_means_and_signs_are_those_of_the_scores(study):
    _, _, results = study
    rows = {row["name"]: row for row in results["rows"]}
    assert rows["baseline"]["mean"] == pytest.approx(0.505)
    assert rows["no_norm"]["mean"] == pytest.approx(0.805)
    # of the six numbers above, by hand: 1.0488 points
    assert rows["baseline"]["std"] == pytest.approx(0.0104881, rel=1e-4)
    effects = {one["row"]: one for one in results["effects"]}
    assert effects["lepe"]["difference"]["estimate"] == pytest.approx(0.4)
    signs = {name: one["sign"] for name, one in effects.items()}
    assert signs == {"forget_gate": "undecided", "no_norm": "contrary", "lepe": "supported"}


def test_the_tables_show_published_figures_beside_ours(study):
    _, _, results = study
    table = effect_table(results, 1, TEXT)
    assert [line[0] for line in table.rows] == ["Baseline", "+ Forget Gate", "- Normalization"]
    no_norm = dict(zip(table.columns, table.rows[2], strict=True))
    assert no_norm["top-1, published"] == "72.4"
    assert no_norm["top-1, here"] == "80.50 ± 1.05"
    assert no_norm["effect, published"] == f"{MINUS}5.20"
    assert no_norm["effect, here"] == "+30.00"
    assert no_norm["sign"] == "contrary"
    second = effect_table(results, 2, TEXT)
    assert [line[0] for line in second.rows] == ["+ Forget Gate", "+ LePE"]
    said = answer(results, TEXT)
    assert "Published effects: 3; supported here: 1, contrary: 1, undecided: 1." in said


def test_throughput_is_beside_that_of_the_baseline(study):
    _, _, results = study
    costs = dict.fromkeys(("parameters", "flops", "published_size_flops"), 2.5e9)
    costs |= {"published_size_parameters": 28.3e6}
    costs["throughput"] = {"median": 0.5, "low": 0.4, "high": 0.6}
    rows = [{**row, "costs": costs} for row in results["rows"]]
    line = cost_table({**results, "rows": rows}, TEXT).rows[1]
    # 743 of 1152 images a second
    assert line == ["+ Forget Gate", "29", "28.30", "2500.00", "4.8", "2.50", "2.50", "0.64",
                    f"0.50 (0.40{DASH}0.60)"]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_needs_no_other_file(study, tmp_path, language):
    _, _, results = study
    page = write_report(results, tmp_path, language=language).read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    for outside in ("http://", "https://", "<script", "<link", "url("):
        # the namespace of the charts is a name and no address, and clips are in the page
        inside = ("www.w3.org", "#")
        assert all(rest.startswith(inside) for rest in page.split(outside)[1:]), outside
    for name in ("effects", "figure-4b", "figure-5"):
        ElementTree.parse(tmp_path / "charts" / f"{name}.svg")
    assert TEXTS["figure_4b"][["en", "zh"].index(language)] in page
    assert csv_table(results).splitlines()[1].startswith("baseline,0,0.5,2,1.5,0.776")


def test_fewer_seeds_than_a_verdict_takes_are_told(tmp_path):
    plan, out = write_study(tmp_path, {"baseline": [0.5, 0.6], "no_norm": [0.1, 0.2]})
    said = answer(collect(plan, out), TEXT)
    assert "4 seeds are needed" in said
    assert "undecided" in said


def test_missing_runs_are_told(tmp_path):
    plan, out = write_study(tmp_path, {"baseline": [0.5, 0.6], "no_norm": [0.1]})
    assert "- Normalization, seed 1: not finished" in answer(collect(plan, out), TEXT)


def test_rows_of_a_seed_must_have_seen_the_same(tmp_path):
    plan, out = write_study(tmp_path, {"baseline": [0.5], "no_norm": [0.1]})
    from mlla.study.runs.run_folder import read_outcome

    outcomes = [read_outcome(out / "runs" / row / "seed-0") for row in plan["rows"]]
    assert {one["state"] for one in finished_guards(plan, outcomes)} == {"passed"}
    outcomes[1].seen[0] = "other"
    states = {one["name"]: one["state"] for one in finished_guards(plan, outcomes)}
    assert states == {"same_data_order": "failed", "one_version": "passed"}


def test_costs_are_counted_and_timed_once(tmp_path, monkeypatch):
    from mlla.study.six_designs import row_costs as module

    plan, out = write_study(tmp_path, {"baseline": [0.5], "single_head": [0.1]})
    monkeypatch.setattr(module, "SECONDS_PER_ROW", 0.01)
    found = row_costs(plan, out)
    # the printed 28M and 24M, 4.5G and 3.9G
    assert found["baseline"]["published_size_parameters"] == pytest.approx(28e6, abs=5e5)
    assert found["single_head"]["published_size_parameters"] == pytest.approx(24e6, abs=5e5)
    assert found["baseline"]["published_size_flops"] == pytest.approx(4.5e9, abs=5e7)
    assert found["baseline"]["throughput"]["median"] == 1
    monkeypatch.setattr(module, "interleaved_seconds", None)
    assert row_costs(plan, out) == found


# -- the command -------------------------------------------------------------------------------


def test_words_become_arguments():
    found = read_arguments(
        ["data=cells", "rows=baseline, lepe", "seeds=2", "lr=1e-3", "near_duplicates=False"]
    )
    assert found == {
        "data": "cells", "rows": ["baseline", "lepe"], "seeds": 2, "lr": 0.001,
        "near_duplicates": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"), [(["seeds=2"], "missing data="), (["data=a", "b"], "'b' is not key")]
)
def test_words_that_make_no_command_are_named(words, message):
    with pytest.raises(UsageError, match=message):
        read_arguments(words)


def test_every_row_of_the_paper_is_studied():
    # seven designs and a baseline in Table 1, four more rows in Table 2
    assert len(ROW_NAMES) == 12
    assert published_row("baseline").top1 == 77.6
    assert Path(str(ROW_NAMES[0])).name == "baseline"
