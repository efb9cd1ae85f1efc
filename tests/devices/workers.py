"""One worker of a training on two; runs in a process of its own."""

import time

from tests.devices.replicas import data, network
from tfxp.devices import make_strategy
from tfxp.errors import TfxpError
from tfxp.keras import keras
from tfxp.training import TrainingRecipe, train_recipe

EPOCHS = 4


class Slow(keras.callbacks.Callback):
    """Leaves time to be killed in."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(self.seconds)


def work(folder, strategy, seconds=0.0):
    """Train the recipe, and end as a tool does."""
    x, y = data()
    recipe = TrainingRecipe(
        {"file": str(folder / "net.keras")}, epochs=EPOCHS, batch_size=16, learning_rate=0.01
    )
    try:
        with make_strategy(strategy).scope():
            train_recipe(recipe, (x, y), (x, y), folder / strategy, callbacks=[Slow(seconds)])
    except TfxpError as error:
        print(error, flush=True)
        raise SystemExit(1) from None


def start(folder):
    """The network that all of them start from."""
    network(norm=True).save(folder / "net.keras")
