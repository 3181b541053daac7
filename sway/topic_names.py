"""Short names of Sway's topics, as commands take them."""

from stream.settings import TopicSettings


def full_name(topic: str, topics: TopicSettings) -> str:
    """Return the full name of a topic, given its full or short name, such as dead-letters or dead_letters."""
    return topics.names().get(topic.replace("-", "_").replace(".", "_"), topic)
