"""The micro-batcher: packing, order, cancellation and failures."""

import itertools
import threading
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for

import numpy as np
import pytest

from model.errors import BatcherClosed, DeviceError, ModelOutputError, OutOfMemory
from model.forward import ForwardPass
from model.loaded import LoadedModel
from model.packing import PackingSettings
from model.scorer import BatchStats, MicroBatcher, ScoredTexts
from tests.unit.model.scoring_models import (
    PROBE_ID,
    EchoModel,
    FailingModel,
    GatedModel,
    NotANumberModel,
    OutOfMemoryModel,
    encoded,
)

PATIENCE_S = 20
without_pauses = ForwardPass(sleep=lambda _: None)


def first_ids(scored: ScoredTexts) -> list[float]:
    return [float(value) for value in scored.y_hat]


def test_scores_come_back_in_the_order_submitted() -> None:
    texts = [encoded(tokens, first_id=1000 + tokens) for tokens in (30, 5, 90, 5, 60, 2)]
    with MicroBatcher(EchoModel(), PackingSettings(max_batch_tokens=100)) as batcher:
        scored = batcher.submit(texts).result(PATIENCE_S)
    assert first_ids(scored) == [1000.0 + text.tokens for text in texts]
    assert scored.z_hat.tolist() == [text.tokens for text in texts]
    assert scored.y_hat.dtype == np.float32
    assert scored.y_hat.shape == (6,)
    assert (scored.failed, scored.model_version, scored.dtype) == ({}, "echo", "fp32")


def test_a_batch_is_packed_across_groups() -> None:
    model = GatedModel()
    stats: list[BatchStats] = []
    with MicroBatcher(model, PackingSettings(max_batch_tokens=100), on_batch=stats.append) as batcher:
        first = batcher.submit([encoded(10)])
        assert model.entered.wait(PATIENCE_S)
        others = [batcher.submit([encoded(10, first_id=2000 + n)]) for n in range(10)]
        model.gate.set()
        wait_for([first, *others], PATIENCE_S)
    assert model.batches == [[1000], [2000 + n for n in range(10)]]
    assert (stats[1].rows, stats[1].tokens, stats[1].padded_tokens, stats[1].fill) == (10, 100, 100, 1.0)
    assert stats[1].queue_s >= 0
    assert stats[1].forward_s >= 0


def test_an_empty_group_completes_at_once() -> None:
    with MicroBatcher(EchoModel()) as batcher:
        assert batcher.submit([]).result(0).y_hat.shape == (0,)


def test_each_group_keeps_the_model_it_was_submitted_with() -> None:
    old, new, shadow = GatedModel("old"), EchoModel("new"), EchoModel("shadow")
    with MicroBatcher(old) as batcher:
        first = batcher.submit([encoded(4)])
        batcher.use(new)
        second = batcher.submit([encoded(4)])
        third = batcher.submit([encoded(4)], shadow)
        old.gate.set()
        versions = [f.result(PATIENCE_S).model_version for f in (first, second, third)]
    assert versions == ["old", "new", "shadow"]


def test_a_cancelled_groups_texts_are_not_scored() -> None:
    model = GatedModel()
    with MicroBatcher(model, PackingSettings(max_wait_s=0)) as batcher:
        running = batcher.submit([encoded(4, first_id=100)])
        assert model.entered.wait(PATIENCE_S)
        packed = batcher.submit([encoded(4, first_id=200)])
        kept = batcher.submit([encoded(4, first_id=300)])
        waiting = batcher.submit([encoded(4, first_id=400)])
        assert packed.cancel()
        assert waiting.cancel()
        model.gate.set()
        assert first_ids(running.result(PATIENCE_S)) == [100.0]
        assert first_ids(kept.result(PATIENCE_S)) == [300.0]
        with pytest.raises(CancelledError):
            packed.result(PATIENCE_S)
    assert sorted(itertools.chain(*model.batches)) == [100, 300]
    assert batcher.waiting_rows == 0


def test_close_scores_waiting_texts() -> None:
    model = GatedModel()
    batcher = MicroBatcher(model, PackingSettings(max_batch_rows=2))
    futures = [batcher.submit([encoded(4, first_id=n)]) for n in range(1, 9)]
    model.gate.set()
    batcher.close()
    assert [first_ids(future.result(0)) for future in futures] == [[float(n)] for n in range(1, 9)]
    with pytest.raises(BatcherClosed):
        batcher.submit([encoded(4)])


def test_close_with_drop_fails_every_waiting_group() -> None:
    model = GatedModel()
    batcher = MicroBatcher(model, PackingSettings(max_batch_rows=1, max_wait_s=0))
    futures = [batcher.submit([encoded(4, first_id=n)]) for n in range(1, 9)]
    assert model.entered.wait(PATIENCE_S)
    closer = threading.Thread(target=lambda: batcher.close(drop=True))
    closer.start()
    for future in futures[1:]:
        with pytest.raises(BatcherClosed):
            future.result(PATIENCE_S)
    model.gate.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    assert len(model.batches) == 1


def test_a_failing_text_does_not_fail_the_others() -> None:
    model = FailingModel(1003, 1006)
    with MicroBatcher(model) as batcher:
        scored = batcher.submit([encoded(4, first_id=1000 + n) for n in range(8)]).result(PATIENCE_S)
    assert sorted(scored.failed) == [3, 6]
    assert str(scored.failed[3]) == "injected failure"
    assert np.isnan(scored.y_hat[[3, 6]]).all()
    assert [x for x in first_ids(scored) if not np.isnan(x)] == [1000, 1001, 1002, 1004, 1005, 1007]
    assert [PROBE_ID] in model.batches


def test_a_text_with_a_non_finite_score_fails() -> None:
    with MicroBatcher(NotANumberModel(1001)) as batcher:
        scored = batcher.submit([encoded(4, first_id=1000), encoded(4, first_id=1001)]).result(PATIENCE_S)
    assert list(scored.failed) == [1]
    assert isinstance(scored.failed[1], ModelOutputError)
    assert first_ids(scored)[0] == 1000.0


@pytest.mark.parametrize("model", [FailingModel(1000, PROBE_ID), NotANumberModel(1000, PROBE_ID)])
def test_a_broken_device_fails_every_waiting_group(model: EchoModel) -> None:
    batcher = MicroBatcher(model, PackingSettings(max_batch_rows=1))
    futures: list[Future[ScoredTexts]] = []
    error: Exception | None = None
    try:
        futures += [batcher.submit([encoded(4, first_id=1000 + n)]) for n in range(5)]
    except DeviceError as exc:  # the first may have broken it before the last was submitted
        error = exc
    for future in futures:
        with pytest.raises(DeviceError, match="known-good"):
            future.result(PATIENCE_S)
    assert isinstance(batcher.broken, DeviceError)
    assert error is None or error is batcher.broken
    with pytest.raises(DeviceError):
        batcher.submit([encoded(4)])
    batcher.close()


def test_an_out_of_memory_error_halves_the_batch() -> None:
    model = OutOfMemoryModel(rows=3)
    stats: list[BatchStats] = []
    with MicroBatcher(model, forward=without_pauses, on_batch=stats.append) as batcher:
        scored = batcher.submit([encoded(4, first_id=1000 + n) for n in range(8)]).result(PATIENCE_S)
    assert first_ids(scored) == [1000.0 + n for n in range(8)]
    assert [len(batch) for batch in model.batches] == [8, 4, 2, 2, 4, 2, 2]
    assert stats[0].passes == 7


def test_a_single_text_waits_for_memory_and_retries() -> None:
    waits: list[float] = []
    forward = ForwardPass(memory_tries=3, memory_wait_s=0.5, sleep=waits.append)
    with MicroBatcher(OutOfMemoryModel(rows=0, recovers_after=2), forward=forward) as batcher:
        scored = batcher.submit([encoded(4)]).result(PATIENCE_S)
    assert (scored.failed, waits) == ({}, [0.5, 0.5])


def test_a_text_that_never_fits_in_memory_fails() -> None:
    model = OutOfMemoryModel(rows=0, recovers_after=99)
    with MicroBatcher(model, forward=without_pauses) as batcher:
        scored = batcher.submit([encoded(4)]).result(PATIENCE_S)
    assert isinstance(scored.failed[0], OutOfMemory)


def test_a_failing_callback_does_not_stop_the_scoring(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: BatchStats) -> None:
        raise ValueError("injected")

    with MicroBatcher(EchoModel(), on_batch=fails) as batcher:
        assert first_ids(batcher.submit([encoded(4)]).result(PATIENCE_S)) == [1000.0]
        assert first_ids(batcher.submit([encoded(4)]).result(PATIENCE_S)) == [1000.0]
    assert "on_batch" in caplog.text


def test_many_threads_each_get_their_own_scores() -> None:
    results: dict[int, list[float]] = {}

    def work(number: int) -> None:
        texts = [encoded(2 + n % 40, first_id=1 + number * 1000 + n) for n in range(100)]
        results[number] = first_ids(batcher.submit(texts).result(PATIENCE_S))

    with MicroBatcher(EchoModel(), PackingSettings(max_batch_tokens=300)) as batcher:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    for number in range(8):
        assert results[number] == [1.0 + number * 1000 + n for n in range(100)]


def test_a_batch_scores_like_its_texts_alone(tiny_model: LoadedModel) -> None:
    pieces = tiny_model.tokenizer.words([f"watch film {n} liked" for n in range(12)])
    texts = [tiny_model.tokenizer.encode(pieces[:n], pieces[n]) for n in range(12)]
    alone = np.array([tiny_model.score_texts([text])[0].numpy() for text in texts])
    with MicroBatcher(tiny_model, PackingSettings(max_batch_tokens=256, multiple=8)) as batcher:
        scored = batcher.submit(texts).result(PATIENCE_S)
    assert scored.y_hat == pytest.approx(alone[:, 0], abs=1e-5)
    assert scored.z_hat == pytest.approx(alone[:, 1], abs=1e-5)
    assert len({float(value) for value in scored.y_hat}) == 12


@pytest.mark.parametrize("limits", [{"max_batch_tokens": 0}, {"max_wait_s": -1.0}, {"look_ahead": 0}])
def test_impossible_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        PackingSettings.for_device("cuda", **limits)
