"""The checks of `sway doctor`, in display order."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from model.device import choose_device, choose_dtype, dtype_name
from model.errors import ModelError
from model.loading import Model
from schemas.errors import DecodeError, SchemaError
from schemas.records import BehaviorEvent, Outcome
from stream.assembly import check, load_champion, packing_for
from stream.errors import ConfigurationError, StreamError
from stream.exactly_once import ExactlyOnceError
from stream.scoring.labels.state import ESTIMATES, ITEMS, PENDING
from stream.scoring.processor import WINDOWS
from stream.settings import Settings
from stream.wire import codec_for
from stream.worker.input_limits import find_unlimited, read_topic_configs
from sway.cluster import QUIET, Cluster, reason
from sway.doctor import conflicts, cpu, dtypes, keys, ports, speed, state_folder, topics
from sway.doctor.findings import Finding, fail, ok, warn
from sway.doctor.run import Check, NotChecked, Once
from sway.doctor.sample import newest_records
from sway.errors import CommandError, SwayError

EXPECTED = (SwayError, SchemaError, ModelError, StreamError, ExactlyOnceError, OSError)
"""Errors whose message becomes a finding."""

_CPUINFO = Path("/proc/cpuinfo")
_SAMPLED_RECORDS = 400
_NO_BROKER = "no broker (see above)"
_NO_MODEL = "no model (see above)"


class Doctor:
    """The checks of one configuration, which share one cluster connection and one model.

    variables: the names of all environment variables. measure_s: seconds to measure each dtype of the model.
    """

    def __init__(self, settings: Settings, variables: Collection[str], *, measure_s: float = 1.0) -> None:
        self._settings = settings
        self._variables = variables
        self._measure_s = measure_s
        self._cluster = Once(lambda: Cluster(settings.kafka), missing=_NO_BROKER)
        self._model = Once(self._load_model, missing=_NO_MODEL)

    def checks(self) -> list[Check]:
        """Return all checks; a check comes after those it depends on."""
        names = self._settings.topics
        return [
            Check(conflicts.CHECK, self._check_settings),
            Check("broker", self._check_broker),
            Check(topics.CHECK, self._check_topics),
            Check(f"records of {names.events}", lambda: self._check_records(names.events, BehaviorEvent)),
            Check(f"records of {names.outcomes}", lambda: self._check_records(names.outcomes, Outcome)),
            Check(state_folder.CHECK, self._check_state_folder),
            Check(ports.CHECK, self._check_web_port),
            Check("device", self._check_device),
            Check("model", self._check_model),
            Check(dtypes.CHECK, self._check_dtypes),
        ]

    def _check_settings(self) -> list[Finding]:
        findings = conflicts.find_conflicts(self._settings, self._variables)
        try:
            check(self._settings)
        except ConfigurationError as exc:
            return [fail(conflicts.CHECK, str(exc)), *(f for f in findings if f.status != "ok")]
        return findings

    def _check_broker(self) -> list[Finding]:
        view = self._cluster.first().view()
        address = self._settings.kafka.bootstrap_servers
        return [ok("broker", f"{address} is reachable; the cluster has {view.brokers} brokers")]

    def _check_topics(self) -> list[Finding]:
        view = self._cluster.get().view()
        tables = [WINDOWS, PENDING, ESTIMATES, ITEMS] if self._settings.labels.wanted else [WINDOWS]
        needed = topics.needed_topics(self._settings.topics, self._settings.app_id, tables)
        of_sway = (*needed.inputs, *needed.outputs, *needed.changelogs, *needed.later)
        configs = self._topic_configs([topic for topic in of_sway if topic in view.partition_counts])
        policies = {name: configs[name]["cleanup.policy"] for name in needed.changelogs if name in configs}
        replication = {
            name: topics.Replication(view.replicas[name], int(config["min.insync.replicas"]))
            for name, config in configs.items()
        }
        max_ahead_s = self._settings.topics.max_ahead_s
        inputs = {name: configs[name] for name in needed.inputs if name in configs}
        return [
            *topics.check_topics(needed, view.partition_counts),
            *topics.check_cleanup_policies(policies),
            *topics.check_replication(needed, replication, view.brokers),
            *topics.check_times(find_unlimited(inputs, round(max_ahead_s * 1000)), max_ahead_s),
        ]

    def _topic_configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        kafka = self._settings.kafka
        try:
            admin = AdminClient({**kafka.client_config(), **QUIET})
            return read_topic_configs(admin, names, kafka.connect_timeout_s)
        except KafkaException as exc:
            raise CommandError(f"cannot read the configuration of {', '.join(names)}: {reason(exc)}") from exc

    def _check_records(self, topic: str, record_type: type[BehaviorEvent] | type[Outcome]) -> list[Finding]:
        kafka = self._settings.kafka
        partitions = self._cluster.get().view().partition_counts.get(topic)
        if partitions is None:
            raise NotChecked(f"there is no topic {topic}")
        records = newest_records(
            kafka.client_config(),
            topic,
            partitions,
            wanted=_SAMPLED_RECORDS,
            timeout_s=kafka.connect_timeout_s,
        )
        codec = codec_for(record_type, topic, self._settings.wire)
        user_ids = [
            found if isinstance(found, DecodeError) else found.user_id
            for found in codec.decode_batch([record.value for record in records])
        ]
        placed = keys.check_partitioner(topic, records, partitions)
        return [placed, *keys.check_keys(topic, records, user_ids)]

    def _check_state_folder(self) -> list[Finding]:
        return [state_folder.check_state_folder(self._settings.state_dir, self._settings.slot)]

    def _check_web_port(self) -> list[Finding]:
        web = self._settings.web
        if not web.enabled:
            return [ok(ports.CHECK, "the web server is disabled (SWAY_WEB__ENABLED)")]
        return [ports.check_web_port(web.host, web.port)]

    def _check_device(self) -> list[Finding]:
        wanted = self._settings.model.device
        try:
            device = choose_device(wanted)
        except ValueError as exc:
            return [fail("device", str(exc), "set SWAY_MODEL__DEVICE=auto, or install a torch with CUDA")]
        if device.type == "cuda":
            gpu = torch.cuda.get_device_properties(device)
            found = f"{gpu.name}, {gpu.total_memory / 1024**3:.0f} GiB"
        else:
            found = f"CPU, {torch.get_num_threads()} threads; no GPU found"
        return [ok("device", f"{found} (SWAY_MODEL__DEVICE={wanted})")]

    def _load_model(self) -> Model:
        """Load the model as a worker would, but in fp32, and on the CPU if the configured device is missing."""
        wanted = self._settings.model
        device = wanted.device if torch.cuda.is_available() else "cpu"
        model = wanted.model_copy(update={"dtype": "fp32", "device": device})
        return load_champion(self._settings.model_copy(update={"model": model}))

    def _check_model(self) -> list[Finding]:
        wanted = self._settings.model
        try:
            model = self._model.first()
        except (ModelError, ConfigurationError) as exc:
            message = " ".join([str(exc), *getattr(exc, "__notes__", ())])
            return [fail("model", message, "set SWAY_MODEL__REGISTRY to the registry with your champion")]
        which = "pinned by SWAY_MODEL__VERSION" if wanted.version else "the champion"
        findings = [
            ok(
                "model",
                f"{model.version}, {which} of {wanted.registry}: hashes verified, a test text was scored; "
                f"{model.text.max_tokens} tokens per text",
            )
        ]
        max_batch_tokens = packing_for(wanted, model.device.type).max_batch_tokens
        if model.text.max_tokens > max_batch_tokens:
            findings.append(
                warn(
                    "model",
                    f"its longest text exceeds model.max_batch_tokens={max_batch_tokens} and is scored alone",
                    "raise SWAY_MODEL__MAX_BATCH_TOKENS",
                )
            )
        return findings

    def _check_dtypes(self) -> list[Finding]:
        model = self._model.get()
        wanted = self._settings.model
        packing = packing_for(wanted, model.device.type)
        measured = list(
            speed.measure(model, max_batch_tokens=packing.max_batch_tokens, seconds=self._measure_s)
        )
        flags = cpu.flags_in(_CPUINFO.read_text()) if _CPUINFO.is_file() else frozenset[str]()
        where = f"at {model.text.max_tokens} tokens on {model.device.type}; {cpu.describe(flags)}"
        where += dtypes.busy_note(os.getloadavg()[0], os.cpu_count() or 1)
        in_use = dtype_name(choose_dtype(wanted.dtype, model.device))
        return [dtypes.judge(measured, configured=wanted.dtype, in_use=in_use, where=where)]
