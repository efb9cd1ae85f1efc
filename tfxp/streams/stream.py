"""Stream: a source whose samples pass through memory a few at a time, by tf.data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfxp.data.dataset import Dataset, conforming_shape
from tfxp.data.input_scaling import InputScaling, Scalings
from tfxp.data.model_data import ModelData
from tfxp.data.source import Batch, Shapes, check_finite
from tfxp.errors import DataError
from tfxp.keras import tf

# Errors of tf.data that come from what it reads.
_READING = (
    tf.errors.InvalidArgumentError,
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.UnknownError,
    tf.errors.PermissionDeniedError,
)
_BUFFER = 4096  # samples that are shuffled among each other where not all of them can be
_BUFFER_BYTES = 1 << 28

# What `read` gives: "x" (a tuple, one tensor an input), and perhaps "y" and "weights".
Element = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Stream:
    """Samples behind a tf.data pipeline; made by `tfxp.open_data`.

    A pipeline begins with keys, one a sample (a path, a number, a serialized record), and ends with
    arrays. Keys that are light are shuffled all together, whatever the samples weigh.

    Args:
        name: what error messages call it.
        keys: makes the data set of keys, in the same order every time.
        read: a key -> the sample; of several keys at once where `together`.
        count: how many samples; None where only reading to the end would tell.
        where: a key as NumPy -> words that name the sample, such as its file.
        light: whether all keys may be held in memory.
        together: whether `read` takes a batch of keys.
        has_answers: whether samples have labels or targets.
        reshape: shapes of the inputs; empty leaves them.
        scaling: of every input; empty leaves their types too.
        first: the number of the first sample in the whole set.
    """

    name: str
    keys: Callable[[], Any]
    read: Callable[..., Element]
    count: int | None
    where: Callable[[int, Any], str]
    light: bool = False
    together: bool = False
    has_answers: bool = True
    reshape: tuple[tuple[int | None, ...], ...] = ()
    scaling: tuple[InputScaling, ...] = ()
    first: int = 0

    @property
    def samples(self) -> int | None:
        """How many samples there are; None where nobody knows yet."""
        return self.count

    @property
    def x(self) -> Stream:
        """Itself: entry points that take inputs take streams too."""
        return self

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(1)

    def with_count(self) -> Stream:
        """The same stream, counted: reads all keys once where their number is not known.

        Raises:
            DataError: there are none, or they cannot be read.
        """
        if self.count is not None:
            return self
        try:
            count = int(self.keys().reduce(np.int64(0), lambda total, *_: total + 1))
        except _READING as error:
            raise DataError(f"{self.name}: cannot be read ({reason_of(error)}).") from None
        return dataclasses.replace(self, count=count)

    def dataset(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        start: int = 0,
        shard: tuple[int, int] | None = None,
        drop_remainder: bool = False,
    ) -> Any:
        """A `tf.data.Dataset` of batches: {"x": (inputs, ...), "y": ..., "weights": ...}.

        Args:
            batch_size: samples a batch.
            seed: of a shuffle that is the same for the same seed; None keeps the order.
            start: samples to leave out after shuffling, to go on where a training stopped.
            shard: (number of this worker, number of workers): every so many-th sample.
            drop_remainder: whether a last, smaller batch is left out.
        """
        keys = self.keys()
        if shard is not None:
            keys = keys.shard(shard[1], shard[0])
        if seed is not None:
            keys = keys.shuffle(self._buffer(keys), seed=seed, reshuffle_each_iteration=False)
        if start:
            keys = keys.skip(start)
        workers = tf.data.AUTOTUNE
        if self.together:
            data = keys.batch(batch_size, drop_remainder).map(self._sample, workers)
        else:
            data = keys.map(self._sample, workers).batch(batch_size, drop_remainder)
        options = tf.data.Options()
        options.deterministic = True
        options.autotune.ram_budget = 1 << 28
        return data.with_options(options).prefetch(1)

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, `size` at a time; the last batch may be smaller.

        Raises:
            DataError: a sample cannot be read, has another shape, holds NaN, or the stream ends
                before its stated length; the sample is named.
        """
        yield from self.checked(self.dataset(size), self.count)

    def shuffled(
        self, size: int, seed: int, start: int = 0, shard: tuple[int, int] | None = None
    ) -> Iterator[Batch]:
        """Whole batches in an order that the seed decides, from sample number `start` on."""
        data = self.dataset(size, seed=seed, start=start, shard=shard, drop_remainder=True)
        try:
            yield from self.checked(data, None)
        except DataError:
            for _ in self.batches(size):  # in order, where samples have their numbers
                pass
            raise

    def checked(self, data: tf.data.Dataset, count: int | None) -> Iterator[Batch]:
        """The batches of a data set of this stream as NumPy; errors as in `batches`."""
        seen = 0
        try:
            for item in data.as_numpy_iterator():
                batch = Batch(list(item["x"]), item.get("y"), item.get("weights"))
                yield check_finite(batch, self.first + seen, self.name)
                seen += len(batch)
        except _READING as error:
            raise self._explained(error) from None
        if count is not None and seen < count:
            raise DataError(
                f"{self.name}: ended after {seen} samples; expected {count}. Make the set again, or"
                " state fewer steps."
            )

    def take(self, limit: int | None) -> Stream:
        """The first `limit` samples (all of them for None).

        Raises:
            DataError: a limit below 1.
        """
        if limit is None or (self.count is not None and limit >= self.count):
            return self
        if limit < 1:
            raise DataError(f"limit of {self.name}: got {limit}; expected at least 1.")
        keys, count = self.keys, None if self.count is None else min(limit, self.count)
        return dataclasses.replace(self, keys=lambda: keys().take(limit), count=count)

    def skip(self, count: int) -> Stream:
        """All but the first `count` samples.

        Raises:
            DataError: none would be left.
        """
        keys, left = self.keys, None if self.count is None else self.count - count
        if left is not None and left < 1:
            raise DataError(f"{self.name}: got {self.count} samples; expected more than {count}.")
        return dataclasses.replace(
            self, keys=lambda: keys().skip(count), count=left, first=self.first + count
        )

    def without_last(self, count: int) -> tuple[Stream, Stream]:
        """All samples but the last `count`, and those.

        Raises:
            DataError: none would be left.
        """
        whole = self.with_count()
        assert whole.count is not None
        if not 0 < count < whole.count:
            raise DataError(
                f"samples to hold out of {self.name}: got {count} of {whole.count}; expected at "
                "least one, and fewer than there are."
            )
        return whole.take(whole.count - count), whole.skip(whole.count - count)

    def shaped(self, shapes: Shapes) -> Stream:
        """Inputs of a model's shapes, where they differ by axes of length 1 or by flattening only.

        Raises:
            DataError: another number of inputs, or shapes that cannot be reconciled.
        """
        specs = self.element_spec["x"]
        if len(specs) != len(shapes):
            raise DataError(
                f"inputs of {self.name}: got {len(specs)}; expected {', '.join(shapes)}. Give one "
                "for each, by name or in this order."
            )
        found = []
        for spec, shape in zip(specs, shapes.values(), strict=True):
            got = tuple(spec.shape[1:]) if spec.shape.rank is not None else None
            wanted = tuple(shape)
            found.append(wanted if got is None else conforming_shape(got, wanted, self.name))
        return dataclasses.replace(self, reshape=tuple(found))

    def scaled_by(self, names: Sequence[str], scalings: Scalings) -> Stream:
        """Inputs as float32, each as its network wants it; `names` in the network's order."""
        scaling = tuple(scalings.get(name, InputScaling()) for name in names)
        return dataclasses.replace(self, scaling=scaling)

    def cached(self, folder: str) -> Stream:
        """The same samples, kept on disk by `tf.data.Dataset.cache` once all have been read."""
        kept = self.dataset(64).unbatch().cache(f"{folder}/samples")
        return dataclasses.replace(
            self, keys=lambda: kept, read=lambda item: item, light=False, together=False,
            reshape=(), scaling=(),
        )  # fmt: skip

    @property
    def element_spec(self) -> Any:
        """Types and shapes of a batch."""
        return self.dataset(1).element_spec

    def in_memory(self, limit: int | None = None) -> ModelData:
        """The first `limit` samples, or all, as arrays.

        Raises:
            DataError: as in `batches`; or no samples.
        """
        batches = list(self.take(limit).batches(64))
        if not batches:
            raise DataError(f"{self.name}: got no samples; expected at least one.")
        y = None
        if self.has_answers:
            y = np.concatenate([batch.y for batch in batches if batch.y is not None])
        parts = zip(*(batch.inputs for batch in batches), strict=True)
        return ModelData(tuple(Dataset(np.concatenate(part), y, self.name) for part in parts))

    def _require_shapes(self, item: Element, number: int, key: tf.Tensor) -> None:
        """Complain about a sample that has not the model's shape."""
        lead = int(self.together)
        for part, shape in zip(item["x"], self.reshape, strict=False):
            got = tuple(part.shape)[lead:]
            try:
                conforming_shape(got, shape, self.name)
            except DataError:
                where = self.where(self.first + number, _as_numpy(key))
                raise DataError(
                    f"{where} of {self.name}: got shape {got}; expected {tuple(shape)}. State a "
                    "size in the preprocessing, or use data made for this model."
                ) from None

    def _buffer(self, keys: tf.data.Dataset) -> int:
        if self.light:
            return max(self.count or 0, 1)
        size = sum(
            int(np.prod([n or 1 for n in spec.shape], dtype=np.int64)) * max(spec.dtype.size, 1)
            for spec in tf.nest.flatten(self.element_spec)
        )
        return int(np.clip(_BUFFER_BYTES // max(size, 1), 1, min(self.count or _BUFFER, _BUFFER)))

    def _sample(self, *key: tf.Tensor) -> Element:
        item = dict(self.read(*key))
        parts = list(item["x"])
        if self.reshape:
            lead = [-1] if self.together else []
            pairs = zip(parts, self.reshape, strict=True)
            parts = [_reshaped(part, lead, shape) for part, shape in pairs]
        if self.scaling:
            parts = [_scaled(*pair, self.name) for pair in zip(parts, self.scaling, strict=True)]
        return {**item, "x": tuple(parts)}

    def _explained(self, error: Exception) -> DataError:
        """Which sample it is; reads them one after the other until one fails."""
        shapes: list[Any] | None = None
        number, found = 0, None
        try:
            for number, key in enumerate(self.keys()):
                items = key if isinstance(key, tuple) else (key,)
                found = items
                if self.together:
                    items = tf.nest.map_structure(lambda part: part[tf.newaxis], items)
                self._require_shapes(self.read(*items), number, found)
                sample = self._sample(*items)
                got = [tuple(part.shape) for part in tf.nest.flatten(sample)]
                if shapes is not None and got != shapes:
                    where = self.where(self.first + number, _as_numpy(found))
                    return DataError(
                        f"{where} of {self.name}: got shapes {_listed(got)}; expected "
                        f"{_listed(shapes)}, as in the samples before. State a size in the "
                        "preprocessing."
                    )
                shapes, found = got, None
        except DataError as reason:
            return reason
        except Exception as reason:  # whatever reading raises is the answer
            error = reason
            if found is None:
                number += 1
        where = (
            f"sample {self.first + number}"
            if found is None
            else self.where(self.first + number, _as_numpy(found))
        )
        return DataError(f"{where} of {self.name}: cannot be read ({reason_of(error)}).")


def reason_of(error: Exception) -> str:
    """The first sentence of a TensorFlow error, without its decoration."""
    text = " ".join(str(getattr(error, "message", error)).split())
    text = re.sub(r"\{\{.*?\}\}", "", text).split(" [[")[0].split(" [Op:")[0].strip()
    return text.rstrip(". ") or type(error).__name__


def _as_numpy(key: Any) -> Any:
    values = tf.nest.map_structure(lambda k: k.numpy(), key)
    return values[0] if len(values) == 1 else values


def _listed(shapes: Sequence[Any]) -> str:
    return ", ".join(map(str, shapes))


def _reshaped(part: tf.Tensor, lead: list[int], shape: tuple[int | None, ...]) -> Any:
    if None in shape:
        return part
    return tf.reshape(part, [*lead, *shape])


def _scaled(part: tf.Tensor, scaling: InputScaling, name: str) -> Any:
    values = tf.cast(part, tf.float32)
    if scaling.is_one:
        return values
    columns = len(scaling.scale)
    if columns > 1 and part.shape[-1] != columns:
        raise DataError(
            f"inputs of {name}: got {part.shape[-1]} columns; expected {columns}, for which the "
            "model brings a scaling."
        )
    return values * tf.constant(scaling.scale, tf.float32) + tf.constant(scaling.shift, tf.float32)
