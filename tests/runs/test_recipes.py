import inspect
import json

import pytest

from twist.cli import main
from twist.runs.batch import batch_warnings
from twist.runs.config import ConfigError, field_value, from_dict, to_dict
from twist.runs.recipes import lab, paper, recipe, recipe_facts, recipe_groups, recipe_names, recipe_summary, small

PRESETS = ("resnet50_two_views", "resnet50", "resnet50w2", "vit_s", "vit_b")
# method.md 6.2, row by row.
PROCESSES = (8, 16, 32, 16, 32)
IMAGES_OF_ONE = (256, 128, 60, 64, 32)
LINEAR_PERCENT = (72.6, 75.5, 77.7, 76.3, 78.4)
VALUES = {
    "optim.batch_size": (2048, 2048, 1920, 1024, 1024),
    "network.bunch_size": (256, 256, 240, 256, 256),
    "views.num_local_views": (0, 12, 12, 6, 10),
    "network.num_classes": (32768, 4096, 4096, 4096, 4096),
    "network.backbone": ("resnet50", "resnet50", "resnet50w2", "vit_s", "vit_b"),
    "optim.epochs": (800, 800, 200, 300, 300),
    "self_label.epochs": (0, 50, 50, 0, 0),
    "optim.optimizer": ("lars", "lars", "lars", "adamw", "adamw"),
    "optim.learning_rate": (4.0, 4.0, 3.75, 1.2e-3, 3e-3),
    "optim.weight_decay": (1.5e-6, 1.5e-6, 1.5e-6, 0.06, 0.06),
    "optim.final_weight_decay": (None, None, None, 0.12, None),
    "objective.sharpness_weight": (1.0, 1.0, 1.0, 0.4, 0.4),
    "objective.diversity_weight": (1.0, 1.0, 1.0, 1.0, 1.0),
    "teacher.enabled": (False, False, False, True, True),
    "network.activation": ("relu", "relu", "relu", "gelu", "gelu"),
    "optim.clip_norm": (None, None, None, 3.0, 3.0),
    "network.drop_path": (0.0, 0.0, 0.0, 0.0, 0.1),
}


def test_the_papers_presets_are_the_paper_group():
    assert tuple(recipe_groups()["paper"]) == PRESETS


@pytest.mark.parametrize("field", VALUES)
def test_a_field_of_the_papers_recipes_has_the_authors_values(field):
    assert [field_value(recipe(name), field) for name in PRESETS] == list(VALUES[field])


def test_the_rate_of_the_self_labelling_stage_is_a_tenth_of_the_first_ones():
    assert recipe("resnet50").self_label.learning_rate == pytest.approx(0.4)
    assert recipe("resnet50w2").self_label.learning_rate == pytest.approx(0.375)


def test_hardware_and_published_numbers_are_those_of_the_authors():
    for name, processes, images, percent in zip(PRESETS, PROCESSES, IMAGES_OF_ONE, LINEAR_PERCENT, strict=True):
        assert recipe_facts(name).hardware == f"{processes} GPUs of {images} images"
        assert processes * images == recipe(name).optim.batch_size
        assert recipe_facts(name).published == pytest.approx(percent / 100)
        assert f"{percent} %" in inspect.getdoc(getattr(paper, name))


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_papers_recipes_share_is_the_authors_default(name):
    made = recipe(name)
    network, objective, optim, stage = made.network, made.objective, made.optim, made.self_label
    assert (network.hidden_dim, network.num_heads, network.patch_size) == (4096, 1, 16)
    assert network.stem == "standard" or name.startswith("vit_")
    assert (network.head_norm, network.final_norm, network.sync_norm, network.dropout) == ("batch", "batch", True, 0)
    assert (network.head_init, network.freeze_patch_embedding) == ("auto", False)
    assert (objective.temperature, objective.consistency_temperature, objective.eps) == (1, 1, 1e-5)
    assert (objective.consistency_weight, objective.diversity_weight, objective.extra) == (1, 1, None)
    assert (optim.warmup_epochs, optim.final_learning_rate, optim.bias_learning_rate) == (10, 0.001, 1)
    assert (optim.momentum, optim.trust, optim.betas) == (0.9, 0.001, (0.9, 0.999))
    assert (stage.warmup_epochs, stage.quantile, stage.threshold) == (5, (0.5, 0.6), 0)
    assert (stage.crop_scale, stage.local_crop_scale) == ((0.14, 1), (0.05, 0.14))
    # At temperature 1 none is the authors' 1; their quantile is each process's own.
    assert (stage.mask_temperature, stage.global_quantile) == (None, False)
    assert (made.teacher.momentum, made.teacher.evaluation_mode, made.teacher.average_buffers) == (
        (0.996, 1),
        False,
        False,
    )


@pytest.mark.parametrize("name", PRESETS)
def test_the_papers_views_are_those_of_the_authors(name):
    views = recipe(name).views
    assert views.crop_scale == ((0.08, 1) if name == "resnet50_two_views" else (0.4, 1))
    assert (views.size, views.crop_ratio, views.flip_probability) == (224, (0.75, 4 / 3), 0.5)
    assert (views.local_size, views.local_crop_scale, views.local_blur_probability) == (96, (0.05, 0.4), 0.5)
    assert (views.jitter_probability, views.gray_probability) == (0.8, 0.2)
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.4, 0.4, 0.2, 0.1)
    assert (views.blur_probability, views.blur_sigma, views.solarize_probability) == ((1, 0.1), (0.1, 2), (0, 0.2))
    assert (views.mean, views.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    still = (views.rotation_degrees, views.shift, views.zoom, views.shear_degrees, views.stretch, views.noise)
    assert still == (0, 0, (1, 1), 0, 0, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_of_the_paper_without_its_images_says_what_is_missing(runs, capfd, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert main(["train", name]) == 2
    said = capfd.readouterr().err
    assert said.startswith("twist: data.source is 'imagenet/train'") and "no folder or file" in said


def test_a_run_of_the_paper_takes_a_few_dozen_snapshots_and_loses_at_most_an_epoch():
    for name in PRESETS:
        made = recipe(name)
        snapshots = made.total_epochs / made.record.snapshot_every_epochs
        assert 20 <= snapshots <= 40, name
        assert made.record.checkpoint_every_epochs == 1


# ---------------------------------------------------------------------------------------------------------------------
# All recipes


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_has_its_functions_name_and_survives_json(name):
    made = recipe(name)
    assert made.name == name
    assert from_dict(json.loads(json.dumps(to_dict(made)))) == made


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_tells_its_command_and_claims_no_accuracy_that_was_not_measured(name):
    function = next(getattr(module, name) for module in (paper, small, lab) if hasattr(module, name))
    text = " ".join((inspect.getdoc(function) or "").split())
    assert f"``twist train {'FOLDER' if name == 'images' else name}" in text
    assert recipe_summary(name).endswith(".") and recipe_summary(name) in text
    assert ("%" in text) == (recipe_facts(name).published is not None)


def test_every_public_function_of_a_group_is_a_recipe_with_facts():
    for module in (paper, small, lab):
        functions = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        ]
        assert sorted(functions) == sorted(module.FACTS)
    assert sorted(name for names in recipe_groups().values() for name in names) == recipe_names()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10"])
def test_the_color_sets_share_one_recipe_but_for_source_classes_and_size(name):
    made = recipe(name).replace(name="cifar10", data__source="cifar10", data__split="train", network__num_classes=64)
    assert made.replace(views__size=32) == recipe("cifar10")
    assert recipe(name).data.source == name


def test_mnist_has_the_network_and_the_views_of_digits():
    digits, mnist = recipe("digits"), recipe("mnist")
    assert mnist.network == digits.network and mnist.objective == digits.objective
    assert mnist.replace(views__size=16, views__mean=(0.3,), views__std=(0.37,)).views == digits.views


def test_imagenette_has_the_papers_views_at_its_own_size():
    theirs, ours = recipe("resnet50").views, recipe("imagenette").views
    assert (ours.size, ours.local_size, ours.num_local_views) == (128, 64, 4)
    scaled = {"size": 224, "local_size": 96, "num_local_views": 12, "blur_sigma": (0.1, 2.0)}
    assert recipe("imagenette").replace(**{f"views__{name}": value for name, value in scaled.items()}).views == theirs


def test_an_unknown_recipe_of_the_paper_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'resnet50w2'"):
        recipe("resnet50w4")


@pytest.mark.parametrize("name", recipe_names())
def test_no_recipe_is_warned_about_at_its_own_batch(name):
    processes = dict(zip(PRESETS, PROCESSES, strict=True)).get(name, 1)
    num_images = {"digits": 1797, "imagenette": 9469}.get(name, 50_000)
    assert batch_warnings(recipe(name), num_images, processes) == []


# ---------------------------------------------------------------------------------------------------------------------
# The command


def test_recipes_lists_every_recipe_in_its_group_with_what_was_published(capfd):
    assert main(["recipes", "--json"]) == 0
    *lines, last = capfd.readouterr().out.rstrip().splitlines()
    table = json.loads(last)["recipes"]
    assert sorted(table) == recipe_names()
    assert table["resnet50"] == {
        "group": "paper",
        "summary": recipe_summary("resnet50"),
        "published": 0.755,
        "hardware": "16 GPUs of 128 images",
        "batch_size": 2048,
        "epochs": 850,
    }
    assert (table["digits"]["group"], table["digits"]["published"]) == ("small", None)
    row = next(line for line in lines if line.strip().startswith("resnet50w2 "))
    assert "77.7 %" in row and "32 GPUs of 60 images" in row and recipe_summary("resnet50w2") in row
    headings = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert headings == ["paper", "small", "lab"]
