"""The verdict on a version (promoted, rolled back or rejected), and its reports."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.errors import ModelCorrupt, ModelMissing, PromotionConflict
from model.manifest import Manifest
from model.promotions import Promotion, in_force
from model.registry import ModelRegistry
from model.verdicts import CHAMPION_PROMOTION, ChallengeCount


@pytest.fixture(params=["local", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """A registry of four versions, on a local disk and on another fsspec file system."""
    address = tmp_path / "registry" if request.param == "local" else f"memory://{tmp_path.name}/registry"
    made = ModelRegistry(address, now_ms=lambda: 1_000)
    for version in ("v1", "v2", "v3", "v4"):
        made.publish(files(tmp_path / version, version), manifest(version))
    return made


def manifest(version: str) -> Manifest:
    return Manifest(version, base="tiny", created_at_ms=5)


def files(folder: Path, content: str) -> Path:
    """Write files in place of a checkpoint, for tests that do not load it."""
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(content)
    (folder / "deep" / "file.txt").write_text(content * 1_000)
    return folder


# --- rollback ---------------------------------------------------------------------------------------------


def test_a_rollback_promotes_the_previous_champion(registry: ModelRegistry) -> None:
    registry.promote("v1")
    registry.promote("v2")
    assert registry.rollback(reason="v2 is bad") == "v1"
    assert registry.champion() == "v1"
    assert registry.promotions() == [1, 2, 3]
    rollback = registry.promotion(3)
    assert (rollback.version, rollback.reason, rollback.back_to) == ("v1", "v2 is bad", 1)


def test_repeated_rollbacks_go_back_until_none_is_left(registry: ModelRegistry) -> None:
    for version in ("v1", "v2", "v3"):
        registry.promote(version)
    assert [registry.rollback(reason="bad") for _ in range(2)] == ["v2", "v1"]
    with pytest.raises(ModelMissing, match="there is no previous champion"):
        registry.rollback(reason="bad")
    assert registry.champion() == "v1"


def test_a_rollback_skips_versions_rolled_back_before(registry: ModelRegistry) -> None:
    registry.promote("v1")
    registry.promote("v2")
    registry.rollback(reason="bad")
    registry.promote("v3")
    assert registry.rollback(reason="bad too") == "v1"


def test_promoting_the_champion_again_adds_no_rollback_step(registry: ModelRegistry) -> None:
    for version in ("v1", "v2", "v2"):
        registry.promote(version)
    assert registry.rollback(reason="bad") == "v1"


def test_a_rollback_without_promotions_is_refused(registry: ModelRegistry) -> None:
    with pytest.raises(ModelMissing, match="no version was promoted"):
        registry.rollback(reason="bad")


def test_a_rollback_to_a_removed_version_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    for version in ("v1", "v2"):
        registry.promote(registry.publish(files(tmp_path / version, version), manifest(version)))
    (tmp_path / "registry" / "versions" / "v1" / "manifest.json").unlink()
    with pytest.raises(ModelMissing, match="v1"):
        registry.rollback(reason="bad")
    assert registry.champion() == "v2"


def test_an_unreadable_newest_promotion_is_rolled_back(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    for version in ("v1", "v2"):
        registry.promote(registry.publish(files(tmp_path / version, version), manifest(version)))
    (tmp_path / "registry" / "promotions" / "000003.json").write_text('{"vers')
    assert registry.rollback(reason="torn") == "v2"
    assert registry.champion() == "v2"


def test_in_force_is_a_stack() -> None:
    history = [
        (1, Promotion("a", 0)),
        (2, Promotion("b", 0)),
        (3, Promotion("c", 0)),
        (4, Promotion("b", 0, back_to=2)),
        (5, Promotion("d", 0)),
        (6, Promotion("a", 0)),
    ]
    assert in_force(history[:4]) == [(1, "a"), (2, "b")]
    assert in_force(history) == [(1, "a"), (2, "b"), (5, "d"), (6, "a")]
    assert in_force([]) == []


# --- promotion with an expectation -------------------------------------------------------------------------


def test_a_promotion_against_another_champion_is_refused(registry: ModelRegistry) -> None:
    registry.promote("v1", expected=None)
    with pytest.raises(PromotionConflict, match="the champion is now v1, not None"):
        registry.promote("v2", expected=None)
    registry.promote("v2", expected="v1")
    with pytest.raises(PromotionConflict, match="the champion is now v2, not v1"):
        registry.promote("v3", expected="v1")
    assert registry.promotions() == [1, 2]


def test_one_of_many_concurrent_challengers_is_promoted(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    for number in range(8):
        registry.publish(files(tmp_path / str(number), str(number)), manifest(f"v{number}"))
    registry.promote("v0")

    def promote(number: int) -> bool:
        try:
            ModelRegistry(tmp_path / "registry").promote(f"v{number}", expected="v0")
        except PromotionConflict:
            return False
        return True

    with ThreadPoolExecutor(7) as pool:
        done = list(pool.map(promote, range(1, 8)))
    assert sum(done) == 1
    assert registry.promotions() == [1, 2]
    assert registry.champion() == f"v{done.index(True) + 1}"


# --- concurrent processes ----------------------------------------------------------------------------------


def _promote_and_publish(address: str, source: str, number: int, rounds: int) -> None:
    registry = ModelRegistry(address)
    for _ in range(rounds):
        registry.promote(registry.publish(Path(source), manifest("shared")), reason=str(number))


def _publish_own(address: str, source: str, number: int, _rounds: int) -> None:
    mine = files(Path(source) / str(number), f"content of {number} ")
    try:
        ModelRegistry(address).publish(mine, manifest("contested"))
    except ModelCorrupt:
        return


def _in_processes(target: Callable[[str, str, int, int], None], *arguments: str, rounds: int = 1) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target, args=(*arguments, number, rounds)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_concurrent_processes_get_distinct_promotion_numbers(tmp_path: Path) -> None:
    address = tmp_path / "registry"
    _in_processes(_promote_and_publish, str(address), str(files(tmp_path / "source", "same")), rounds=5)
    registry = ModelRegistry(address)
    assert registry.promotions() == list(range(1, 21))
    assert sorted(promotion.reason for _, promotion in registry.history()) == sorted("0123" * 5)
    registry.fetch("shared", tmp_path / "copy")


def test_one_of_several_conflicting_publishes_wins_completely(tmp_path: Path) -> None:
    address = tmp_path / "registry"
    _in_processes(_publish_own, str(address), str(tmp_path / "sources"))
    copy = ModelRegistry(address).fetch("contested", tmp_path / "copy")
    content = (copy / "config.json").read_text()
    assert (copy / "deep" / "file.txt").read_text() == content * 1_000
    assert list((address / ".staging").iterdir()) == []


def test_a_conflicting_publish_to_an_object_store_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"memory://{tmp_path.name}/registry"
    first, second = ModelRegistry(address), ModelRegistry(address)
    second.exists("v")
    # The second registry looks before the first has published.
    monkeypatch.setattr(second, "exists", lambda _version: False)
    first.publish(files(tmp_path / "a", "a"), manifest("v"))
    with pytest.raises(ModelCorrupt, match="other files"):
        second.publish(files(tmp_path / "b", "b"), manifest("v"))
    assert (first.fetch("v", tmp_path / "copy") / "config.json").read_text() == "a"


# --- rejections --------------------------------------------------------------------------------------------


def test_each_version_has_a_verdict(registry: ModelRegistry) -> None:
    registry.promote("v1", reason="first")
    registry.promote("v2", reason="better")
    registry.reject("v3", "worse by 0.1", {"auc": 0.4})
    one, two, three, four = (registry.verdict(version) for version in ("v1", "v2", "v3", "v4"))
    assert (one.status, one.reason, one.promotions) == ("promoted before", "first", (1,))
    assert (two.status, two.reason, two.at_ms) == ("champion", "better", 1_000)
    assert (three.status, three.reason, three.metrics) == ("rejected", "worse by 0.1", {"auc": 0.4})
    assert (four.status, four.is_settled) == ("published", False)
    assert all(standing.is_settled for standing in (one, two, three))
    with pytest.raises(ModelMissing):
        registry.verdict("v9")


def test_the_first_rejection_stands_and_the_version_remains(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.reject("v1", "first reason")
    registry.reject("v1", "second reason")
    assert registry.verdict("v1").reason == "first reason"
    registry.fetch("v1", tmp_path / "copy")
    assert registry.rejections() == ["v1"]


def test_an_unpublished_version_can_be_rejected(registry: ModelRegistry) -> None:
    registry.reject("v-broken", "too few examples")
    assert registry.verdict("v-broken").status == "rejected"
    assert "v-broken" not in registry.versions()


def test_a_promotion_overrides_a_rejection_but_not_vice_versa(registry: ModelRegistry) -> None:
    registry.promote("v1")
    with pytest.raises(PromotionConflict, match="roll back"):
        registry.reject("v1", "too late")
    registry.reject("v2", "worse")
    registry.promote("v2", reason="I know better")
    assert registry.verdict("v2").status == "champion"


def test_a_torn_rejection_is_corrupt(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    (tmp_path / "rejections").mkdir()
    (tmp_path / "rejections" / "v1.json").write_text("{")
    with pytest.raises(ModelCorrupt, match=r"rejections/v1\.json"):
        registry.verdict("v1")


# --- challengers of a champion -------------------------------------------------------------------------------


def test_challengers_are_counted_per_champion_across_rollbacks(registry: ModelRegistry) -> None:
    def lose(version: str) -> None:
        number = registry.challenged(registry.champion() or "").promotion
        registry.reject(version, "worse", {CHAMPION_PROMOTION: float(number)})

    first, second = registry.promote("v1"), 0
    lose("a")
    lose("b")
    registry.reject("c", "too few users to compare", {"users": 3.0})
    assert registry.challenged("v1") == ChallengeCount(first, rejected=2)
    second = registry.promote("v2")
    assert registry.challenged("v2") == ChallengeCount(second, rejected=0)
    lose("d")
    registry.rollback(reason="back to v1")
    lose("e")
    # v2 counts as a challenger too: it beat v1 before the rollback.
    assert registry.challenged("v1") == ChallengeCount(second + 1, rejected=4)
    assert registry.challenged("v2") == ChallengeCount(second, rejected=1)
    with pytest.raises(ModelMissing, match="v9 was never promoted"):
        registry.challenged("v9")


def test_an_unreadable_rejection_counts_as_a_challenger(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(files(tmp_path / "a", "a"), manifest("v1"))
    number = registry.promote("v1")
    registry.reject("v2", "worse", {CHAMPION_PROMOTION: float(number)})
    (tmp_path / "registry" / "rejections" / "v3.json").write_text("{")
    assert registry.challenged("v1") == ChallengeCount(number, rejected=2)
    (tmp_path / "registry" / "promotions" / "000002.json").write_text("{")  # possibly a challenger's
    assert registry.challenged("v1") == ChallengeCount(number, rejected=3)


def test_an_unreadable_old_promotion_hides_no_verdict(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(files(tmp_path / "a", "a"), manifest("v1"))
    registry.promote("v1")
    (tmp_path / "registry" / "promotions" / "000002.json").write_text("{")
    registry.promote("v1")
    assert registry.verdict("v1").status == "champion"
    registry.reject("v2", "worse")
    assert registry.verdict("v2").status == "rejected"


# --- reports -----------------------------------------------------------------------------------------------


def test_a_report_can_be_attached_and_replaced(registry: ModelRegistry, tmp_path: Path) -> None:
    assert registry.reports("v1") == []
    registry.attach("v1", files(tmp_path / "first", "first"))
    registry.attach("v1", files(tmp_path / "second", "second"))
    registry.attach("v1", files(tmp_path / "third", "third"), "gate")
    assert registry.reports("v1") == ["gate", "report"]
    report = registry.fetch_report("v1", tmp_path / "copy")
    assert (report / "config.json").read_text() == "second"
    registry.fetch("v1", tmp_path / "version")  # its own files still match the manifest
    with pytest.raises(ModelMissing, match="its reports are: gate, report"):
        registry.fetch_report("v1", tmp_path / "none", "other")
    with pytest.raises(ModelMissing):
        registry.attach("v9", tmp_path / "first")


def test_an_altered_report_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(files(tmp_path / "a", "a"), manifest("v1"))
    registry.attach("v1", tmp_path / "a")
    (tmp_path / "registry" / "reports" / "v1" / "report" / "config.json").write_text("b")
    with pytest.raises(ModelCorrupt, match=r"config\.json was altered"):
        registry.fetch_report("v1", tmp_path / "copy")


def test_a_report_without_its_contents_file_does_not_exist(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry")
    registry.publish(files(tmp_path / "a", "a"), manifest("v1"))
    registry.attach("v1", tmp_path / "a")
    (tmp_path / "registry" / "reports" / "v1" / "report" / "contents.json").unlink()
    assert registry.reports("v1") == []
