"""What two replicas of a network do beside one of it; runs in a process of its own.

Logical devices have to be made before TensorFlow starts.
"""

import json

import numpy as np

import tfxp
from tfxp.callbacks import (
    ExportCheckpoint,
    FreezeFormats,
    GradientProbe,
    PrecisionSchedule,
    RangeLogger,
    SparsityLogger,
    SqnrLogger,
)
from tfxp.data import Dataset
from tfxp.devices import is_replicated, scope_of
from tfxp.errors import ConfigError
from tfxp.files import plain
from tfxp.keras import keras, layers, tf
from tfxp.quantization.learned_formats import learned_steps
from tfxp.training import (
    FineTuneSettings,
    TrainingRecipe,
    fine_tune,
    prepare_training,
    saturation_of,
    train_recipe,
)

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def two_devices():
    """A strategy of two replicas on logical CPUs."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def data(count=64):
    draws = np.random.default_rng(7)
    y = np.arange(count) % 3
    x = draws.normal(size=(count, 6, 6, 1)).astype(np.float32)
    for row, label in enumerate(y):
        x[row, 2 * label : 2 * label + 2] += 1.0
    return x, y


def network(norm=False):
    keras.utils.set_random_seed(1)
    image = keras.Input((6, 6, 1), name="image")
    t = layers.Conv2D(4, 3, name="conv")(image)
    t = layers.BatchNormalization(name="norm", momentum=0.5)(t) if norm else t
    t = layers.Flatten(name="flat")(layers.ReLU(name="relu")(t))
    return keras.Model(image, layers.Dense(3, name="out")(t), name="net")


class Pair:
    """The same network on one device and on two."""

    def __init__(self, folder):
        self.folder, self.strategy = folder, two_devices()
        self.x, self.y = data()
        with self.strategy.scope():
            two = network()
        self.models = {"one": network(), "two": two}
        self.stats = tfxp.measure_model(self.models["one"], self.x)

    def quantized(self, name):
        return tfxp.quantize_model(self.models[name], "w4a4", self.stats)

    def each(self, function):
        return {name: function(name) for name in self.models}

    def compiled(self, model, optimizer):
        with scope_of(model):
            model.compile(optimizer(), LOSS, metrics=["accuracy"])
        return model

    def train(self, model, **options):
        found = model.fit(
            self.x, self.y, batch_size=16, epochs=2, shuffle=False, verbose=0, **options
        )
        return found.history["loss"]

    def fit(self, name):
        qmodel = self.compiled(self.quantized(name), lambda: keras.optimizers.SGD(0.1))
        before = qmodel.predict(self.x, batch_size=16, verbose=0)  # on all replicas
        losses = self.train(qmodel)
        return {"losses": losses, "replicated": is_replicated(qmodel), "before": before.tolist()}

    def learned(self, name):
        learning = tfxp.learn_formats(self.quantized(name))
        self.compiled(learning, lambda: keras.optimizers.Adam(0.01))
        losses = self.train(learning, callbacks=[FreezeFormats(2, 1, 7)])
        steps = [
            {key: variable.numpy().ravel().tolist() for key, variable in step.variables.items()}
            for step in learned_steps(learning)
        ]
        frozen = tfxp.freeze_formats(learning)
        same = bool((frozen(self.x).numpy() == learning(self.x).numpy()).all())
        return {"losses": losses, "steps": steps, "same": same}

    def fine_tuned(self, name):
        qmodel = self.quantized(name)
        settings = FineTuneSettings(2, batch_size=16, teacher_weight=0.5)
        losses = fine_tune(qmodel, self.x, self.y, settings, teacher=self.models[name])
        return {"losses": list(losses), "replicated": is_replicated(qmodel)}

    def fixed_point(self, name, rounding="half_away"):
        pmap = tfxp.PrecisionMap.from_dict({"schema": 1, "rounding": "half_away", "default": {
            "weights": "Q0.7", "activations": "Q3.4", "weight_gradients": "Q1.6",
            "activation_gradients": "Q-4.11", "accumulators": "Q-8.16"}})  # fmt: skip
        with scope_of(self.models[name]):
            ready = prepare_training(self.models[name], pmap, loss=LOSS, learning_rate=0.125)
        ready.optimizer.rounding = ready.optimizer.gradient_rounding = rounding
        losses = self.train(ready)
        copies = [getattr(v, "values", [v]) for v in ready.trainable_variables]
        agree = all((a.numpy() == parts[0].numpy()).all() for parts in copies for a in parts)
        return {"losses": losses, "agree": bool(agree), "clipped": saturation_of(ready),
                "counts": ready.optimizer.counts(), "copies": len(copies[0])}  # fmt: skip

    def watched(self, name):
        folder = self.folder / name
        qmodel = self.compiled(self.quantized(name), lambda: keras.optimizers.SGD(0.1))
        kinds = (RangeLogger, SparsityLogger, SqnrLogger)
        options = {"max_share": None, "tensorboard": False}
        watchers = [kind(self.x, folder, **options) for kind in kinds]
        best = ExportCheckpoint(folder / "best.tflite", self.x, "loss", max_share=None)
        schedule = PrecisionSchedule({0: "w8a8", 1: "w4a4"}, self.stats, log_dir=folder)
        losses = self.train(qmodel, callbacks=[*watchers, schedule, best])
        tfxp.calibrate_model(qmodel, self.x)
        qmodel.save(folder / "net.keras")
        again = tfxp.load_model(folder / "net.keras")
        same = bool((again(self.x).numpy() == qmodel(self.x).numpy()).all())
        found = best.report.verification
        return {"losses": losses, "records": [w.records for w in watchers], "same": same,
                "mismatches": found.mismatches_litert + found.mismatches_interpreter,
                "steps": [row["step"] for row in watchers[0].records]}  # fmt: skip

    def recipe(self, name):
        folder = self.folder / f"recipe_{name}"
        network(norm=True).save(self.folder / "normed.keras")
        fields = {"model": {"file": str(self.folder / "normed.keras")}, "epochs": 2}
        recipe = TrainingRecipe(**fields, batch_size=16, learning_rate=0.01)
        strategy = self.strategy if name == "two" else tf.distribute.get_strategy()
        with strategy.scope():
            result = train_recipe(recipe, Dataset(self.x, self.y), (self.x, self.y), folder)
        return {"losses": [row["loss"] for row in result["epochs"]], "score": result["score"]}


def refusal(function):
    try:
        function()
    except ConfigError as error:
        return str(error)
    return ""


def compare(folder):
    """Everything, as JSON."""
    pair = Pair(folder)
    found = {
        name: pair.each(getattr(pair, name))
        for name in ("fit", "learned", "fine_tuned", "fixed_point", "watched", "recipe")
    }
    found["stochastic"] = {"two": pair.fixed_point("two", "stochastic")}
    two = pair.compiled(pair.models["two"], lambda: keras.optimizers.SGD(0.1))
    recipe = TrainingRecipe({"name": "lenet"}, batch_size=15)

    def uneven():
        with pair.strategy.scope():
            train_recipe(recipe, (pair.x, pair.y), None, folder / "uneven")

    found["refused"] = [refusal(lambda: pair.train(two, callbacks=[GradientProbe()])),
                        refusal(uneven)]  # fmt: skip
    (folder / "found.json").write_text(json.dumps(plain(found)))
