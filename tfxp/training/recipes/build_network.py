"""From a recipe to the network that is trained."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data import ModelData, input_shapes
from tfxp.data.input_scaling import read_scalings
from tfxp.errors import ConfigError
from tfxp.formats import WrpnFormat
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, KerasModel, Samples
from tfxp.measure import measure_model
from tfxp.models import build_model
from tfxp.precision import PrecisionMap
from tfxp.quantization import load_model, quantize_model, wrpn_precision
from tfxp.quantization.plan import prepare
from tfxp.quantizers import UnitRange
from tfxp.training.fixed_point.prepare_training import with_float_biases
from tfxp.training.recipes.fixed_point_recipe import backward_settings
from tfxp.training.recipes.recipe import TrainingRecipe
from tfxp.training.recipes.recipe_precision import given_map, is_training_map
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.wrpn.rescale import rescale_for_wrpn
from tfxp.transforms.wrpn.widen import widen_model

_SAMPLES = 512  # to measure ranges on


def build_network(recipe: TrainingRecipe, x: Samples) -> Any:
    """The network of a recipe, not compiled; the same one for the same recipe.

    Args:
        recipe: what to build.
        x: training inputs as the model takes them, a list of arrays for several inputs; for what
            has to be measured: `rescale`, and precisions given in numbers of bits.

    Raises:
        ConfigError: there is no such model, or a factor or a field is impossible.
        PrecisionError: the precision does not fit the network.
        UnsupportedLayerError: a layer that cannot be widened or quantized, by name.
    """
    keras.utils.set_random_seed(recipe.seed)
    model = float_network(recipe, x)
    precision = precision_for(recipe.precision, model)
    if precision is None:
        everywhere = [layer.name for layer in model.layers]
        return _held_within_unit_range(model, everywhere) if recipe.clip_weights == "all" else model
    training = is_training_map(precision)
    backward = (
        None
        if recipe.backward is None and not training
        else backward_settings(recipe.backward, recipe.seed)
    )
    on_grid = _wrpn_layers(model, precision)
    if recipe.clip_weights:
        model = _held_within_unit_range(model, on_grid)
    # The recipe measures only what the map leaves open.
    needs = [precision.default, *precision.layers.values()]
    stats, fold = None, recipe.fold_batch_norm and not training
    if any(isinstance(rule.activations, int) for rule in needs):
        data = ModelData.of((x, None), model.input_names, "training data").take(_SAMPLES)
        sample = data.shaped(input_shapes(model)).x
        stats = measure_model(model, sample, fold_batch_norm=fold)
    if training:
        precision = with_float_biases(precision)
    return quantize_model(model, precision, stats, fold_batch_norm=fold, backward=backward)


def float_network(recipe: TrainingRecipe, x: Samples) -> Any:
    """The network before quantization: made or loaded, widened, rescaled."""
    model = _given_network(recipe)
    if recipe.widen is not None:
        model = widen_model(model, seed=recipe.seed, **recipe.widen)
    if recipe.rescale is not None:
        settings = dict(recipe.rescale)
        samples = settings.pop("samples", _SAMPLES)
        data = ModelData.of((x, None), model.input_names, "training data").take(samples)
        model = rescale_for_wrpn(model, data.x, **settings)
    if recipe.weight_decay is not None:
        model = _with_weight_decay(model, recipe.weight_decay)
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        model = _with_synchronized_norms(model)
    precision = precision_for(recipe.precision, model)
    if recipe.weight_std is not None and precision is not None:
        _spread_weights(model, _wrpn_layers(model, precision), recipe.weight_std)
    return model


def network_inputs(recipe: TrainingRecipe) -> dict[str, tuple[int | None, ...]]:
    """Input name -> one sample's shape, in order, of a recipe's network."""
    return input_shapes(_given_network(recipe))


def scaled_as_its_file(recipe: TrainingRecipe) -> TrainingRecipe:
    """A recipe that scales inputs as the network it starts from was trained, unless it says how.

    Raises:
        ConfigError: that network has a scaling for each input or column.
    """
    file, own = recipe.model.get("file"), (recipe.input_scale, recipe.input_shift)
    known = read_scalings(file) if file is not None and os.path.exists(file) else {}
    if not known or own != (1.0, 0.0):
        return recipe
    (scaling,) = list(known.values())[:1]
    if len(known) > 1 or len(scaling.scale) > 1:
        raise ConfigError(
            f"model {file!r}: got a scaling for every input or column; expected one for all. Scale "
            "the data yourself, and set input_scale and input_shift."
        )
    return recipe.updated({"input_scale": scaling.scale[0], "input_shift": scaling.shift[0]})


def _given_network(recipe: TrainingRecipe) -> KerasModel:
    if "file" in recipe.model:
        return load_model(recipe.model["file"])
    return build_model(recipe.model["name"], **recipe.model.get("settings", {}))


def precision_for(wanted: object, model: KerasModel) -> PrecisionMap | None:
    """The precision map that a recipe's `precision` stands for in a network; None for float."""
    if isinstance(wanted, Mapping) and "wrpn" in wanted:
        return wrpn_precision(model, **wanted["wrpn"])
    return given_map(wanted)


def training_map_of(recipe: TrainingRecipe) -> PrecisionMap | None:
    """The map of a recipe that trains in fixed point; None for any other."""
    precision = given_map(recipe.precision)
    return precision if is_training_map(precision) else None


def _wrpn_layers(model: KerasModel, precision: PrecisionMap) -> list[str]:
    """Layers whose kernels are on a WRPN grid."""
    plan = prepare(model, fold=False)
    rules = precision.resolve(list(plan.points), plan.aliases, plan.selected())
    return [name for name in plan.macs if isinstance(rules[name].weights, WrpnFormat)]


def _held_within_unit_range(model: KerasModel, names: Collection[str]) -> Any:
    """The same network with kernels constrained to [-1, 1]."""
    graph = LayerGraph.from_model(model)
    wanted = keras.constraints.serialize(UnitRange())
    for name in names:
        config = graph.layers[name].config
        for key in config.keys() & {"kernel_constraint", "depthwise_constraint"}:
            config[key] = wanted
    return graph.to_model(model.name)


def _spread_weights(model: KerasModel, names: list[str], std: float) -> None:
    """Give kernels a standard deviation, and cut them at -1 and 1."""
    for layer in model.layers:
        if layer.name in names:
            kernel = layer.depthwise_kernel if _is_depthwise(layer) else layer.kernel
            values = kernel.numpy()
            size = float(values.std())
            if size > 0:
                kernel.assign(np.clip(values * (std / size), -1.0, 1.0))


def _with_weight_decay(model: KerasModel, decay: float) -> Any:
    """The same network with one L2 on all kernels, or none."""
    graph = LayerGraph.from_model(model)
    wanted = keras.regularizers.serialize(keras.regularizers.L2(decay)) if decay else None
    for spec in graph.layers.values():
        for key in spec.config:
            if key.endswith("_regularizer"):
                is_kernel = key in ("kernel_regularizer", "depthwise_regularizer")
                spec.config[key] = wanted if is_kernel else None
    return graph.to_model(model.name)


def _with_synchronized_norms(model: KerasModel) -> Any:
    """The same network whose BatchNormalization takes its means over all replicas."""
    graph = LayerGraph.from_model(model)
    norms = [spec for spec in graph.layers.values() if spec.kind == "BatchNormalization"]
    for spec in norms:
        spec.config["synchronized"] = True
    return graph.to_model(model.name) if norms else model


def _is_depthwise(layer: KerasLayer) -> bool:
    return hasattr(layer, "depthwise_kernel")
