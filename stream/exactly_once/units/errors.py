"""What can go wrong between the broker and the state.

ExactlyOnceError
├── StartError              the process cannot start: broker, topics or state folder
├── GroupMetadataError      a generation or member id that would commit unfenced
├── LostBatchError          a batch vanished between the consumer and the agent
├── OffsetOutOfRangeError   the committed offset is no longer in the topic
├── StateLostError          a changelog was made again: what it held is gone
├── TopicGoneError          a topic in use was deleted, or made again
├── StoreError              the local state cannot be written or read: the disk
│   └── StoreCorruptError   what is on the disk is damaged: rebuilt at the next start
├── StateFormatError        the state holds a value in a format that this program does not know
├── FencedError             this epoch is over: drop its units (handled inside)
│   └── TransactionEndedError   the broker has ended the transaction: join the group again (handled inside)
├── RecordTooLargeError     an output that no broker setting allows
└── FatalTransactionError   the fate of a commit is unknown, or the producer is fenced: end the process
"""


class ExactlyOnceError(Exception):
    """Root of everything that stream.exactly_once raises."""


class StartError(ExactlyOnceError):
    """The worker cannot start; the message names the setting to change."""


class GroupMetadataError(ExactlyOnceError):
    """The group metadata would not fence: the broker skips its check for such values."""


class LostBatchError(ExactlyOnceError):
    """The order of delivery has a hole that the broker did not make."""


class OffsetOutOfRangeError(ExactlyOnceError):
    """Retention has passed the committed offset, or the topic was made again."""


class StateLostError(ExactlyOnceError):
    """The group has committed state to a changelog that is not there any more."""


class TopicGoneError(ExactlyOnceError):
    """A topic that is being read or written was deleted, or made again under the same name."""


class StoreError(ExactlyOnceError):
    """The local state cannot be written or read; nothing is lost, since it can be rebuilt from Kafka."""


class StoreCorruptError(StoreError):
    """A file of the local state is damaged; the next start rebuilds its partition from Kafka."""


class StateFormatError(ExactlyOnceError):
    """A value of the state that another version of the program has written, and this one cannot read.

    Raised by a table's `loads`; the table says where. Starting again does not help, so it is one line in the log.
    """


class FencedError(ExactlyOnceError):
    """The group has moved on; nothing of this epoch may become visible any more."""


class TransactionEndedError(FencedError):
    """The broker has ended a transaction that stayed open too long; where the group is must be asked again."""


class RecordTooLargeError(ExactlyOnceError):
    """An output record is larger than `max_record_bytes`."""


class FatalTransactionError(ExactlyOnceError):
    """The transactional producer cannot be used again; the next start has a new producer epoch."""
