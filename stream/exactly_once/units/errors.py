"""Exceptions of stream.exactly_once.

ExactlyOnceError
├── StartError              the process cannot start: broker, topics or state folder
├── GroupMetadataError      a generation or member id with which the broker would not fence the commit
├── LostBatchError          a batch was lost between the consumer and the agent
├── OffsetOutOfRangeError   the committed offset is no longer in the topic
├── StateLostError          a changelog topic was recreated: its contents are lost
├── TopicGoneError          a topic in use was deleted or recreated
├── StoreError              the local state cannot be written or read, for example because the disk is full
│   └── StoreCorruptError   the local state is corrupt; the next start rebuilds it
├── StateFormatError        the state holds a value in a format unknown to this version
├── FencedError             the epoch is over and its units are dropped (handled internally)
│   └── TransactionEndedError   the broker ended the transaction; the worker rejoins the group (handled internally)
├── RecordTooLargeError     an output exceeds the maximum record size
└── FatalTransactionError   the outcome of a commit is unknown or the producer is fenced; the process ends
"""


class ExactlyOnceError(Exception):
    """Base class of all exceptions of stream.exactly_once."""


class StartError(ExactlyOnceError):
    """The worker cannot start; the message names the setting to change."""


class GroupMetadataError(ExactlyOnceError):
    """The broker does not check group metadata with these values, so the commit would not be fenced."""


class LostBatchError(ExactlyOnceError):
    """A batch was lost inside the worker; the gap does not come from the broker."""


class OffsetOutOfRangeError(ExactlyOnceError):
    """The committed offset was removed by retention, or the topic was recreated."""


class StateLostError(ExactlyOnceError):
    """The changelog topic to which the group committed state no longer exists."""


class TopicGoneError(ExactlyOnceError):
    """A topic in use was deleted, or recreated under the same name."""


class StoreError(ExactlyOnceError):
    """The local state cannot be written or read. No data is lost: the state can be rebuilt from Kafka."""


class StoreCorruptError(StoreError):
    """A file of the local state is corrupt; the next start rebuilds its partition from Kafka."""


class StateFormatError(ExactlyOnceError):
    """A state value was written by another version of the program and cannot be decoded.

    Raised by a table's `loads`; the table adds the location. A restart does not help, so the log gets one line
    without a traceback.
    """


class FencedError(ExactlyOnceError):
    """The group has started a new generation; nothing of this epoch may be committed."""


class TransactionEndedError(FencedError):
    """The broker ended a transaction that exceeded its timeout; the committed offsets must be read again."""


class RecordTooLargeError(ExactlyOnceError):
    """An output record is larger than `max_record_bytes`."""


class FatalTransactionError(ExactlyOnceError):
    """The transactional producer is unusable; the next start obtains a new producer epoch."""
