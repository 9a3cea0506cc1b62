"""Checks and conversions of interaction columns; null stands for a malformed value."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_himirec import errors
from tfrs_himirec.raw import batches

_EXPECTED = {
    "user_id": "an id",
    "item_id": "an id",
    "timestamp": "Unix seconds or an ISO-8601 time",
    "weight": "a finite number >= 0",
}
_INTEGER = r"^-?\d{1,18}$"
_CANONICAL = r"^(0|-?[1-9]\d{0,17})$"
_NUMBER = r"^-?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,2})?$"
_DATE = r"^\d{4}-\d{2}-\d{2}"


def interactions(
    batch: batches.Batch,
) -> tuple[dict[str, pa.Array], list[batches.Problem]]:
    """Converts the columns of a log.

    Returns:
      The well-formed rows, by contract name, and the malformed ones in file order.

    Raises:
      HimirecError: a whole column has a type that cannot be converted.
    """
    if not len(batch.rows):
        return {}, list(batch.broken)
    columns = {
        "user_id": ids(batch.columns["user_id"]),
        "item_id": ids(batch.columns["item_id"]),
        "timestamp": _converted(batch, "timestamp", timestamps),
        "weight": pa.array(np.ones(len(batch.rows), np.float32)),
    }
    if "weight" in batch.columns:
        columns["weight"] = _converted(batch, "weight", weights)
    valid = {
        key: column.is_valid().to_numpy(zero_copy_only=False)
        for key, column in columns.items()
    }
    good = np.logical_and.reduce(list(valid.values()))
    problems = list(batch.broken)
    for place in np.flatnonzero(~good):
        key = next(key for key in valid if not valid[key][place])
        problems.append(batch.problem(int(place), key, _EXPECTED[key]))
    kept = {key: column.filter(good) for key, column in columns.items()}
    return kept, sorted(problems, key=lambda problem: problem.row)


def ids(array: pa.Array) -> pa.Array:
    """Makes blank text null; integers stay as they are."""
    if pa.types.is_integer(array.type):
        return array
    blank = pc.equal(pc.utf8_trim_whitespace(array), "")
    return pc.if_else(blank, None, array)


def are_integers(array: pa.Array, untyped: bool) -> bool:
    """Whether ids can be stored as int64 and be written back as they were."""
    if pa.types.is_integer(array.type):
        return True
    canonical = pc.match_substring_regex(array, _CANONICAL)
    return untyped and pc.all(canonical, min_count=0).as_py()


def _converted(batch: batches.Batch, key: str, convert) -> pa.Array:
    array = batch.columns[key]
    result = convert(array)
    if result is None:
        raise errors.HimirecError(
            f"{batch.path}: column {batch.names[key]!r} is {array.type}; expected "
            f"{_EXPECTED[key]}, convert the column or name another one with "
            f"--{key}-column"
        )
    return result


def timestamps(array: pa.Array) -> pa.Array | None:
    """Unix seconds as int64; a time without a zone is UTC. None: not a time type."""
    kind = array.type
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    if pa.types.is_floating(kind):
        return _truncated(array)
    if pa.types.is_date(kind):
        return array.cast(pa.timestamp("s")).cast(pa.int64())
    if pa.types.is_timestamp(kind):
        seconds = pa.timestamp("s", tz=kind.tz)
        return array.cast(seconds, safe=False).cast(pa.int64())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(array)
        whole = _matching(text, _INTEGER).cast(pa.int64())
        fraction = _truncated(_matching(text, _NUMBER).cast(pa.float64()))
        return pc.coalesce(whole, fraction, _parsed(_matching(text, _DATE)))
    return None


def weights(array: pa.Array) -> pa.Array | None:
    """float32 >= 0. None: not a number type."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array = _matching(pc.utf8_trim_whitespace(array), _NUMBER)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    return pa.array(values, mask=~(np.isfinite(values) & (values >= 0)))


def _matching(text: pa.Array, pattern: str) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _truncated(array: pa.Array) -> pa.Array:
    values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    good = np.abs(values) < 2**63  # false for NaN and for null
    return pa.array(np.where(good, values, 0).astype(np.int64), mask=~good)


def _parsed(text: pa.Array) -> pa.Array:
    if text.null_count == len(text):
        return pa.nulls(len(text), pa.int64())
    times = pd.to_datetime(
        text.to_pandas(), format="ISO8601", utc=True, errors="coerce"
    ).dt.as_unit("s")
    seconds = times.to_numpy("datetime64[s]").astype(np.int64)
    return pa.array(seconds, mask=times.isna().to_numpy())
