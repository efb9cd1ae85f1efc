"""A search in a process of its own, to be killed: search_process.py DIRECTORY METHOD LOG DELAY.

Every evaluation writes a line to LOG before and after it. DELAY makes it slow enough to be hit: a
number of seconds, or a file to wait for.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.search.networks import classifier, labelled  # noqa: E402
from tfxp.search import FastEvaluator, PrecisionSearch  # noqa: E402

TRIALS = 24


def make_search(directory, method, **options):
    model = classifier()
    data = labelled(model, 120)
    options = {"tolerance": 0.03, "patience": 10.0, "progress": False, "batch_size": 20, **options}
    trials = None if method == "greedy" else TRIALS
    return PrecisionSearch(
        model, data, method=method, max_trials=trials, directory=directory, **options
    )


def main():
    directory, method, log, delay = sys.argv[1:]
    evaluate = FastEvaluator.evaluate
    tuner = os.environ.get("KERASTUNER_TUNER_ID", "")

    def write(text, pmap):
        line = json.dumps([tuner, text, pmap.to_dict()["layers"]]) + "\n"
        with open(log, "a", encoding="utf-8") as file:
            file.write(line)

    def slow(self, pmap, at_least=None):
        write("begin", pmap)
        if os.sep in delay:
            while not os.path.exists(delay):
                time.sleep(0.05)
        else:
            time.sleep(float(delay))
        score = evaluate(self, pmap, at_least)
        write("end", pmap)
        return score

    FastEvaluator.evaluate = slow
    result = make_search(directory, method).run()
    print(json.dumps({"best": result.best and result.best.key, "new": result.new_trials}))


if __name__ == "__main__":
    main()
