"""The worker process: Faust app, champion watcher, metrics, live quality, web pages and timers."""
