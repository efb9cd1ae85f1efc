"""A search in a process of its own, to be killed: started through `tests.forked`."""

import json
import os
import time

from tests.search.networks import classifier, labelled
from tfxp.search import FastEvaluator, PrecisionSearch

TRIALS = 24


def make_search(directory, method, **options):
    model = classifier()
    data = labelled(model, 120)
    options = {"tolerance": 0.03, "patience": 10.0, "progress": False, "batch_size": 20, **options}
    trials = None if method == "greedy" else TRIALS
    return PrecisionSearch(
        model, data, method=method, max_trials=trials, directory=directory, **options
    )


def main(directory, method, log, delay, patience=10.0):
    """A search that tells what it is doing and can be hit in the middle.

    Args:
        directory, method: of the search.
        log: file that gets a line before and after every evaluation.
        delay: seconds that every evaluation takes longer.
        patience: seconds that a chief lets a worker be silent.
    """
    evaluate = FastEvaluator.evaluate
    tuner = os.environ.get("KERASTUNER_TUNER_ID", "")

    def write(text, pmap):
        line = json.dumps([tuner, text, pmap.to_dict()["layers"]]) + "\n"
        with open(log, "a", encoding="utf-8") as file:
            file.write(line)

    def slow(self, pmap, at_least=None):
        write("begin", pmap)
        time.sleep(delay)
        score = evaluate(self, pmap, at_least)
        write("end", pmap)
        return score

    FastEvaluator.evaluate = slow
    result = make_search(directory, method, patience=patience).run()
    found = {"best": result.best and result.best.key, "new": result.new_trials}
    print(json.dumps(found), flush=True)
