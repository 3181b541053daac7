"""`sway demo`: scoring of real ratings, with a real Kafka, a real worker process and a fitted model.

The data is MovieLens-100K, ordered by time. A worker scores each `watch` event. The rating becomes the event's Outcome
once a read_committed reader has seen the score.
"""
