"""`histories/part-XXXXX-of-XXXXX.parquet`: split histories, user -> circle -> items.

The Key-Key-Value structure of the paper's section 2.3: one row per user and leaf
circle. The history of an inner circle is the merge of its leaves' by timestamp.
Test and validation users have no targets in it.
"""

import pyarrow as pa

from tfrs_himirec.schema import raw


def schema(user_type: str, item_type: str) -> pa.Schema:
    """`circle` is a path such as "2/4/4"; the lists are oldest first, same length."""
    return pa.schema(
        [
            ("user_id", raw.ID_TYPES[user_type]),
            ("circle", pa.string()),
            ("item_ids", pa.list_(raw.ID_TYPES[item_type])),
            ("timestamps", pa.list_(pa.int64())),
        ]
    )


def shard_name(shard: int, shards: int) -> str:
    return f"part-{shard:05d}-of-{shards:05d}.parquet"
