"""The paper's detection protocols as configurations of detectron2, for a backbone that is exported to it.

Source: method section 7. Every value stands in the file, but for those that detectron2 has by itself. That no stage is
frozen is not said there; it goes with norms that learn everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_SMALLEST = {"pascal_voc.yaml": 480, "coco.yaml": 640}
_STAGES, _LEVELS = ["res2", "res3", "res4", "res5"], ["p2", "p3", "p4", "p5"]


def detectron2_configs(
    backbone: str, weights: str, *, mean: Sequence[float], std: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Configurations by the name of their file: Faster R-CNN on Pascal VOC 07+12, Mask R-CNN on COCO, 1x schedule.

    Parameters
    ----------
    backbone
        Name of a ResNet: resnet50, resnet50w2, ….
    weights
        Name of the file of weights, beside these.
    mean, std
        What the views were normalized by (white is 1), one number or one per channel of the images.

    Examples
    --------
    >>> model = detectron2_configs("resnet50", "backbone.pkl", mean=[0.5] * 3, std=[0.2] * 3)["coco.yaml"]["MODEL"]
    >>> model["WEIGHTS"], model["PIXEL_MEAN"], model["RESNETS"]["STRIDE_IN_1X1"]
    ('backbone.pkl', [127.5, 127.5, 127.5], False)
    """
    return {
        "pascal_voc.yaml": {
            **_shared("pascal_voc.yaml", backbone, weights, mean, std, num_labels=20, masks=False),
            "DATASETS": {"TRAIN": ["voc_2007_trainval", "voc_2012_trainval"], "TEST": ["voc_2007_test"]},
            "SOLVER": _solver(24_000, [18_000, 22_000]) | {"WARMUP_ITERS": 100},
        },
        "coco.yaml": {
            **_shared("coco.yaml", backbone, weights, mean, std, num_labels=80, masks=True),
            "DATASETS": {"TRAIN": ["coco_2017_train"], "TEST": ["coco_2017_val"]},
            "SOLVER": _solver(90_000, [60_000, 80_000]),
        },
    }


def resnet_sizes(backbone: str) -> dict[str, int]:
    """What detectron2 must be told of a ResNet's depth and widths.

    Examples
    --------
    >>> resnet_sizes("resnet18")
    {'DEPTH': 18, 'STEM_OUT_CHANNELS': 64, 'RES2_OUT_CHANNELS': 64, 'WIDTH_PER_GROUP': 64}
    """
    depth, _, width = backbone.removeprefix("resnet").partition("w")
    base = 64 * int(width or 1)
    return {
        "DEPTH": int(depth),
        "STEM_OUT_CHANNELS": base,
        "RES2_OUT_CHANNELS": base if int(depth) < 50 else 4 * base,
        "WIDTH_PER_GROUP": base,
    }


def as_yaml(config: Mapping[str, Any], *, title: str) -> bytes:
    """A configuration as YAML: groups in blocks, values as JSON has them, which YAML reads too."""
    lines = [f"# {title}", *_lines(config, "")]
    return ("\n".join(lines) + "\n").encode()


def _lines(group: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in group.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_lines(value, f"{indent}  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}")
    return lines


def _solver(iterations: int, steps: list[int]) -> dict[str, Any]:
    return {"IMS_PER_BATCH": 16, "BASE_LR": 0.02, "STEPS": steps, "MAX_ITER": iterations}


def _shared(
    name: str,
    backbone: str,
    weights: str,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    num_labels: int,
    masks: bool,
) -> dict[str, Any]:
    return {
        "VERSION": 2,
        "MODEL": {
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "WEIGHTS": weights,
            "MASK_ON": masks,
            # Detectron2 subtracts and divides bytes; its order of channels is INPUT.FORMAT's.
            "PIXEL_MEAN": [round(255 * number, 3) for number in mean],
            "PIXEL_STD": [round(255 * number, 3) for number in std],
            "BACKBONE": {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0},
            "RESNETS": {
                **resnet_sizes(backbone),
                "NORM": "SyncBN",
                "STRIDE_IN_1X1": False,
                "OUT_FEATURES": _STAGES,
            },
            "FPN": {"IN_FEATURES": _STAGES, "NORM": "SyncBN"},
            "ANCHOR_GENERATOR": {"SIZES": [[32], [64], [128], [256], [512]], "ASPECT_RATIOS": [[0.5, 1.0, 2.0]]},
            "RPN": {
                "IN_FEATURES": [*_LEVELS, "p6"],
                "PRE_NMS_TOPK_TRAIN": 2000,
                "PRE_NMS_TOPK_TEST": 1000,
                "POST_NMS_TOPK_TRAIN": 1000,
                "POST_NMS_TOPK_TEST": 1000,
            },
            "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": _LEVELS, "NUM_CLASSES": num_labels},
            "ROI_BOX_HEAD": {
                "NAME": "FastRCNNConvFCHead",
                "NUM_CONV": 4,
                "NUM_FC": 1,
                "NORM": "SyncBN",
                "POOLER_RESOLUTION": 7,
            },
            **(
                {
                    "ROI_MASK_HEAD": {
                        "NAME": "MaskRCNNConvUpsampleHead",
                        "NUM_CONV": 4,
                        "NORM": "SyncBN",
                        "POOLER_RESOLUTION": 14,
                    }
                }
                if masks
                else {}
            ),
        },
        "INPUT": {
            "FORMAT": "RGB" if len(mean) == 3 else "L",
            "MIN_SIZE_TRAIN": list(range(_SMALLEST[name], 801, 32)),
            "MIN_SIZE_TEST": 800,
        },
        "TEST": {"PRECISE_BN": {"ENABLED": True}},
    }
