"""Random logs for the tests of prepare, and a plain reader of what it wrote."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_himirec import config
from tfrs_himirec.schema import raw, sequences

SETTINGS = config.Prepare(
    min_item_events=4,
    min_user_events=3,
    targets=3,
    seed=11,
    embedding=config.Embedding(dim=8, window=3),
    tree=config.Tree(k=3, c=8),
)


def random_log(strings: bool, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A log with ties in time, duplicates and rows that break each rule.

    Users and items are skewed, so that each filter removes some.
    """
    rng = np.random.default_rng(seed)
    size = 1500
    log = pd.DataFrame(
        {
            "user_id": (400 * rng.random(size) ** 4).astype(int),
            "item_id": (120 * rng.random(size) ** 5).astype(int),
            "timestamp": rng.integers(0, 40, size),
            "weight": np.ones(size),
        }
    )
    log = pd.concat([log, log.sample(80, random_state=seed)], ignore_index=True)
    log["weight"] = log["weight"].astype("float32")
    log.loc[[3, 500], "weight"] = [-1.0, np.nan]
    log.loc[[10, 700], "timestamp"] = -5
    log.loc[[20, 30], "item_id"] = 999
    items = pd.DataFrame({"item_id": np.arange(120)})
    if strings:
        log["user_id"] = "u" + log["user_id"].astype(str)
        log["item_id"] = "i" + log["item_id"].astype(str)
        items["item_id"] = "i" + items["item_id"].astype(str)
    else:  # a float64 cannot hold these ids
        log["user_id"] = (log["user_id"] + 2**60).astype("Int64")
        log["timestamp"] = log["timestamp"].astype("Int64")
        log.loc[41, "timestamp"] = None
    log.loc[40, "user_id"] = None
    names = items["item_id"].astype(str)
    words = ["red", "green", "blue"]
    items["title"] = ["title " + name for name in names]
    items["text"] = [f"{words[i % 3]} thing" for i in range(len(items))]
    items["tags"] = [[words[i % 3]] for i in range(len(items))]
    return log, items


def write_raw(run_dir, log: pd.DataFrame, items: pd.DataFrame, group: int = 400):
    kind = "string" if items["item_id"].dtype != np.int64 else "int64"
    folder = run_dir / "raw"
    folder.mkdir(parents=True)
    schema = raw.interactions_schema(kind, kind)
    table = pa.Table.from_pandas(log, schema, preserve_index=False)
    table = table.replace_schema_metadata(None)  # as any other program writes it
    pq.write_table(table, folder / raw.INTERACTIONS, row_group_size=group)
    table = pa.Table.from_pandas(items, raw.items_schema(kind), preserve_index=False)
    pq.write_table(table, folder / raw.ITEMS)
    return run_dir


def read_users(run_dir, split: str) -> dict:
    found = {}
    for path in sequences.shard_paths(run_dir, split):
        for record in tf.data.TFRecordDataset(path):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            user = feature["user_id"]
            key = [v.decode() for v in user.bytes_list.value] or user.int64_list.value
            names = ("history", "targets", "history_time")
            found[key[0]] = [list(feature[n].int64_list.value) for n in names]
    return found
