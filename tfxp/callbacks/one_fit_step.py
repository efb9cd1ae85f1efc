"""Another training step for one `fit`, and the model's own ever after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfxp.keras import keras

_MAKE = "make_train_function"  # what Keras calls once, at the start of a fit


class OneFitStep:
    """Trains a model with another step during one `fit`, however that fit ends.

    The model has the other step only while a step runs. Keras asks for its compiled step at the
    start of every fit; a fit that is not the one this was made for gets the model's own, also after
    an exception or Ctrl-C, which no callback is told of.

    Args:
        model: the model, in a callback's `set_model`.
        step: takes a batch in the place of `model.train_step`.
    """

    def __init__(self, model: keras.Model, step: Callable[[Any], dict[str, Any]]) -> None:
        before = vars(model).get(_MAKE)
        if isinstance(before, OneFitStep):
            before.end()
        self._model, self._step = model, step
        self._make = getattr(model, _MAKE)
        self._fit = getattr(model, "history", None)  # a new one for every fit
        self._started = False
        vars(model)[_MAKE] = self

    def __call__(self, force: bool = False) -> Callable[[Any], Any]:
        """The compiled step, as `make_train_function` returns it."""
        if self._started or getattr(self._model, "history", None) is not self._fit:
            self.end()
            return self._own(force)
        self._started = True
        function, own = self._own(True), vars(self._model)

        def run(iterator: Any) -> Any:
            own["train_step"] = self._step
            try:
                return function(iterator)
            finally:
                del own["train_step"]

        return run

    def end(self) -> None:
        """Forget the other step."""
        if vars(self._model).get(_MAKE) is self:
            del vars(self._model)[_MAKE]
        self._model.train_function = None

    def _own(self, force: bool) -> Callable[[Any], Any]:
        function: Callable[[Any], Any] = self._make(force)
        return function
