"""Precision by analysis: uniform, ADaPTION, Lin's SQNR allocation, Judd's descent, Sakr, ILP."""

from tfxp.assign.adaption import AdaptionAssigner
from tfxp.assign.assignment import Assignment, Decision, PrecisionAssigner
from tfxp.assign.descent import Evaluation, JuddDescent
from tfxp.assign.evaluation_ledger import EvaluationLedger
from tfxp.assign.ilp import IlpAssigner
from tfxp.assign.judd import JuddAssigner, sensitivity_profile, uniform_start, uniform_sweep
from tfxp.assign.lin import LinAssigner, bit_offsets, dense_sweep
from tfxp.assign.pareto import cheapest_within, pareto_front
from tfxp.assign.sakr import SakrAssigner, mismatch_bound
from tfxp.assign.search_space import BitSpace, Configuration
from tfxp.assign.size_curve import (
    Saving,
    SizePoint,
    best_saving,
    savings,
    size_curve,
    smallest_within,
)
from tfxp.assign.sqnr import KappaFit, SqnrRow, fit_kappa, lin_format, measure_kappa, predict_sqnr
from tfxp.assign.step_sizes import DISTRIBUTIONS, optimal_step, quantizer_mse
from tfxp.assign.training_stats import LayerTrainingStats, TrainingStats
from tfxp.assign.training_variants import perturbed, with_more_bits
from tfxp.assign.uniform import UniformAssigner
from tfxp.assign.word_space import WordSpace

__all__ = [
    "DISTRIBUTIONS",
    "AdaptionAssigner",
    "Assignment",
    "BitSpace",
    "Configuration",
    "Decision",
    "Evaluation",
    "EvaluationLedger",
    "IlpAssigner",
    "JuddAssigner",
    "JuddDescent",
    "KappaFit",
    "LayerTrainingStats",
    "LinAssigner",
    "PrecisionAssigner",
    "SakrAssigner",
    "Saving",
    "SizePoint",
    "SqnrRow",
    "TrainingStats",
    "UniformAssigner",
    "best_saving",
    "WordSpace",
    "bit_offsets",
    "cheapest_within",
    "dense_sweep",
    "fit_kappa",
    "lin_format",
    "measure_kappa",
    "mismatch_bound",
    "optimal_step",
    "pareto_front",
    "perturbed",
    "predict_sqnr",
    "quantizer_mse",
    "savings",
    "sensitivity_profile",
    "size_curve",
    "smallest_within",
    "uniform_start",
    "uniform_sweep",
    "with_more_bits",
]
