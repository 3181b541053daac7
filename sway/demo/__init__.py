"""`sway demo`: the main job on real ratings, with a real Kafka, a real worker process and a fitted model.

MovieLens-100K in the order in which people rated: each `watch` event is scored by a worker; the rating
becomes the event's Outcome once a read_committed reader has seen its score.
"""
