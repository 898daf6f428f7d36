"""Ways to ask for views that several tests share."""

from twist.runs.config import ViewsConfig

RAW = {"mean": (0.0,), "std": (1.0,)}
OFF = {
    **RAW,
    "crop_scale": (1.0, 1.0),
    "flip_probability": 0.0,
    "jitter_probability": 0.0,
    "gray_probability": 0.0,
    "solarize_probability": (0.0, 0.0),
}
EVERYTHING = ViewsConfig(
    size=24,
    rotation_degrees=20.0,
    shift=0.1,
    zoom=(0.8, 1.25),
    shear_degrees=5.0,
    blur_probability=(0.5, 0.5),
    noise=0.05,
)
