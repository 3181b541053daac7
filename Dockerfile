# A worker, and every other command of `sway`: docker build -t sway . && docker run sway --help
# Not built by us: there was no Docker engine where this was written.

FROM python:3.11-slim AS build
ENV UV_LINK_MODE=copy UV_NO_CACHE=1
RUN python -m venv /opt/venv && python -m pip install --no-cache-dir uv
WORKDIR /src
# The dependencies first: this layer stays until the lock file changes. Every file is checked by its hash.
COPY requirements.lock ./
RUN uv pip sync --python /opt/venv/bin/python --require-hashes requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY clients clients
COPY model model
COPY stream stream
COPY trainer trainer
COPY sway sway
RUN uv pip install --python /opt/venv/bin/python --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 sway && install -d -o sway -g sway /var/lib/sway
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    TOKENIZERS_PARALLELISM=false \
    SWAY_STATE_DIR=/var/lib/sway/state \
    SWAY_MODEL__REGISTRY=/registry \
    SWAY_TRAINER__WORK_DIR=/var/lib/sway/trainer \
    SWAY_WEB__HOST=0.0.0.0 \
    SWAY_WEB__PORT=6066 \
    SWAY_TRAINER__WEB_HOST=0.0.0.0 \
    SWAY_TRAINER__WEB_PORT=6070
USER sway
WORKDIR /var/lib/sway
# The state is a cache of the changelog: a lost volume costs a recovery, nothing else.
VOLUME /var/lib/sway
EXPOSE 6066 6070
# Asks the health page of a worker, docker-compose.yml that of a trainer; a start that loads a large model may take a while.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['SWAY_WEB__PORT'] + '/livez', timeout=4)"]
ENTRYPOINT ["sway"]
CMD ["worker"]
