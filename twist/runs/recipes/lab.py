"""Recipes to teach with: they show much and are soon there."""

from __future__ import annotations

from twist.runs.config import ComputeConfig, NetworkConfig, ObjectiveConfig, OptimConfig, Recipe, RecordConfig
from twist.runs.recipes.facts import RecipeFacts
from twist.runs.recipes.small import digits

FACTS = {"lab": RecipeFacts("one CPU core, live")}


def lab() -> Recipe:
    """Digits in three classes for the collapse lab: every image a dot in a triangle, and many steps a second.

    Command: ``twist train lab``; it goes on for minutes and is made to be watched, held and turned while it trains.
    """
    return Recipe(
        name="lab",
        data=digits().data,
        views=digits().views,
        network=NetworkConfig(backbone="small_conv", widths=(16, 32), pool_side=4, hidden_dim=128, num_classes=3),
        objective=ObjectiveConfig(temperature=0.3),
        optim=OptimConfig(
            optimizer="adamw",
            epochs=1000,  # minutes, so that nobody who looks for a while meets the end
            batch_size=100,
            learning_rate=3e-3,
            warmup_epochs=1,
            final_learning_rate=1.0,
        ),
        compute=ComputeConfig(precision="float32"),  # a trial of formats would delay the first step
        record=RecordConfig(
            diagnose_every_steps=10,
            snapshot_every_epochs=20,
            checkpoint_every_epochs=20,
            keep_checkpoints=25,
            train_samples=False,
            outputs_every_steps=10,
        ),
    )
