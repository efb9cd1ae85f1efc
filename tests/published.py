"""Which public objects implement something published, by whom, and which are this package's own.

A name that is followed by "=" computes a quantity, so its docstring has the equation. Every public
object of these folders is in one of the tables, so a new one has to be decided on.
"""

import ast
import re

from tests.docstring_sections import SECTIONS, sections

# Folder -> first author or project, as the docstring names it -> names.
PUBLISHED = {
    "formats": {
        "Milde": "FixedPointFormat= Rounding fit_clip_budget= fit_max_abs=",
        "Lin": "fit_mse= sqnr_db=",
        "Mishra": "WrpnFormat=",
    },
    "quantizers": {
        "Mishra": "UnitRange WrpnActivationQuantizer= WrpnWeightQuantizer=",
        "Sakr": "GradientQuantizer=",
        "Jain": "LearnedActivationQuantizer LearnedFormat LearnedStep LearnedWeightQuantizer",
        "TensorFlow Lite": "AveragePoolQuantizer= LstmQuantizer= PReluQuantizer= ProductQuantizer="
        " SoftmaxQuantizer= TableQuantizer=",
        "XNNPACK": "LeakyReluQuantizer= MeanQuantizer=",
        "gemmlowp": "LengthQuantizer=",
    },
    "quantization": {
        "Sakr": "BackwardSettings",
        "Mishra": "WrpnScheme wrpn_precision",
    },
    "assign": {
        "Milde": "AdaptionAssigner=",
        "Judd": "BitSpace JuddAssigner JuddDescent= sensitivity_profile= uniform_start"
        " uniform_sweep",
        "Lin": "KappaFit= LinAssigner= SqnrRow bit_offsets= dense_sweep fit_kappa lin_format="
        " measure_kappa optimal_step= predict_sqnr= quantizer_mse= size_curve",
        "Sakr": "LayerTrainingStats= SakrAssigner= TrainingStats mismatch_bound= perturbed"
        " with_more_bits",
        "Yao": "IlpAssigner=",
    },
    "training": {
        "Sakr": "FixedPointSGD= UpdatePrecision prepare_training",
        "Nagel": "RoundingSettings calibrate_model=",
        "Hinton": "fine_tune=",
        "Colbert": "bound_accumulators=",
        "Wen": "TernGrad=",
    },
    "sparsity": {
        "Kurtz": "ActivationZeros= regularize_activations threshold_activations=",
        "Zhu": "make_mask prune_model",
        "Li": "remove_channels",
    },
}
OWN = {
    "formats": """Candidate Overflow TensorStats candidate candidates decibels decode decode_scalar
        encode encode_scalar format_of_scale has_power_of_two int8_zero_point= mean_squared_error=
        parse_format portable_mean_bias= quantize round_array round_scalar spare_bits""",
    "quantizers": """ActivationQuantizer BiasQuantizer FormatContext FormatQuantizer GradientCounts
        KernelQuantizer UnaryQuantizer WeightQuantizer seed_of""",
    "quantization": """FormatScheme FormatWrapper LayerRole PrecisionSetter QuantizeInput
        QuantizedNetwork TensorQuantizeConfig WeightSpec is_quantized load_model precision_of
        quantize_model= read_network rebuild register_layer set_precision strip""",
    "assign": """Assignment Configuration Decision Evaluation EvaluationLedger PrecisionAssigner
        Saving SizePoint UniformAssigner WordSpace best_saving cheapest_within pareto_front savings
        smallest_within""",
    "training": """FineTuneSettings TrainingGrid TrainingRecipe build_network forward_precision
        saturation_of train_recipe update_precision""",
    "sparsity": "SparsityMap SparsityPattern",
}


def decided(folder):
    """Name -> (author or "", whether it computes a quantity) of a folder's objects."""
    groups = [*PUBLISHED[folder].items(), ("", OWN[folder])]
    names = [(name, author) for author, group in groups for name in group.split()]
    assert len({name.rstrip("=") for name, _ in names}) == len(names), "a name is listed twice"
    return {name.rstrip("="): (author, name.endswith("=")) for name, author in names}


def sources_lacking(node, module, author, computes):
    """What a docstring lacks of where its method comes from, in words.

    Args:
        node: a function or class.
        module: the tree of its file, whose docstring may name the sources of all of it.
        author: who has to be named, or "".
        computes: whether there has to be an equation.
    """
    text, lacks = ast.get_docstring(node) or "", []
    named = sections(text).get("References", "")
    named += sections(ast.get_docstring(module) or "").get("References", "")
    if author and not re.search(rf"\b{author}\b", named):
        lacks.append(f"References: {author}")
    # What is published has a year; what is a program has a name, its versions agree.
    if author and author[:3] not in ("Ten", "XNN", "gem") and not re.search(r"\b20\d\d\b", named):
        lacks.append("References: year")
    said = re.split(rf"^(?:{'|'.join(SECTIONS)}):\n", text, maxsplit=1, flags=re.M)[0]
    inside = sections(text).get("Args", "") if isinstance(node, ast.ClassDef) else ""
    if computes and not re.search(r"^ {4,}\S.* (<=|>=|=) ", said + inside, re.M):
        lacks.append("an equation")
    return lacks
