"""The worker's process: the Faust app, the champion's watcher, metrics, live quality, pages and timers."""
