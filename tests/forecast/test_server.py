"""The service without Ray: merging, versions, tables. The actor: the same numbers from afar, even when it is killed."""

import asyncio
import math
import threading
import time

import pytest
import torch

from arena.config.tournament import RayConfig
from arena.forecast.baselines import Drift, Persistence
from arena.forecast.serving import server as serving
from arena.forecast.serving import service as service_module
from arena.forecast.serving.batching import Call, MicroBatcher
from arena.forecast.serving.service import ForecastService, UnknownVersion
from arena.forecast.table import TableRequest, build_table
from arena.forecast.types import Forecast, ForecasterInfo, ForecasterStats
from arena.tournament.run.workers import start_ray

MAX_DELAY = 0.05  # seconds: long enough for calls made together to meet, on any machine


def walks(*shape, seed=0):
    """Bars [..., C, 6] of random walks."""
    generator = torch.Generator().manual_seed(seed)
    close = 100 * (0.01 * torch.randn(*shape, generator=generator)).cumsum(-1).exp()
    return close.unsqueeze(-1).expand(*shape, 6).contiguous()


class Paths:
    """A forecaster that draws paths, each from its place in the call, as models do."""

    info = ForecasterInfo("paths", "paths-1", min_context=2)

    def predict(self, context, stamps, horizon):
        draws = torch.randn(len(context), horizon, 4, generator=torch.Generator().manual_seed(7))
        quantiles = draws.quantile(torch.linspace(0.1, 0.9, 9), dim=-1).movedim(0, -1)
        return Forecast(quantiles, draws)

    def stats(self):
        return ForecasterStats(0, 0, math.nan, math.nan, 0.0)


# Merging


def test_concurrent_small_calls_share_model_calls_and_keep_their_numbers():
    context = walks(40, 30)
    whole = Drift().predict(context, None, 5)

    async def ask_all():
        batcher = MicroBatcher(max_batch=16, max_delay=MAX_DELAY)
        model = lambda call: Drift().predict(call.context, call.stamps, call.horizon)  # noqa: E731
        calls = [batcher.submit(model, "drift", Call(context[i : i + 1], None, 5)) for i in range(40)]
        return await asyncio.gather(*calls), batcher

    answers, batcher = asyncio.run(ask_all())
    torch.testing.assert_close(torch.cat([answer.quantiles for answer in answers]), whole.quantiles)
    assert batcher.num_model_calls == 3, "16 + 16 + 8"
    assert batcher.queue_length == 0


def test_calls_of_different_kinds_are_not_merged():
    seen = []

    def model(call):
        seen.append((tuple(call.context.shape), call.horizon))
        return Persistence().predict(call.context, call.stamps, call.horizon)

    async def ask_all():
        batcher = MicroBatcher(max_batch=100, max_delay=MAX_DELAY)
        kinds = [(length, horizon) for length in (10, 20) for horizon in (1, 2)] * 3
        calls = [batcher.submit(model, kind, Call(walks(2, kind[0]), None, kind[1])) for kind in kinds]
        return await asyncio.gather(*calls)

    asyncio.run(ask_all())
    assert sorted(seen) == [((6, 10, 6), 1), ((6, 10, 6), 2), ((6, 20, 6), 1), ((6, 20, 6), 2)]


def test_a_full_batch_does_not_wait_and_a_large_call_stays_whole():
    async def ask_all():
        batcher = MicroBatcher(max_batch=4, max_delay=60.0)
        model = lambda call: Persistence().predict(call.context, None, call.horizon)  # noqa: E731
        start = time.monotonic()
        small = [batcher.submit(model, "small", Call(walks(1, 10), None, 1)) for _ in range(4)]
        large = batcher.submit(model, "large", Call(walks(9, 10), None, 1))
        answers = await asyncio.gather(*small, large)
        return answers, batcher.num_model_calls, time.monotonic() - start

    answers, num_model_calls, seconds = asyncio.run(ask_all())
    assert len(answers[-1].quantiles) == 9
    assert num_model_calls == 2
    assert seconds < 30


def test_a_bad_call_costs_only_its_sender():
    context = walks(5, 10)
    context[2, 4, 3] = -1.0  # a negative close

    async def ask_all():
        batcher = MicroBatcher(max_batch=100, max_delay=MAX_DELAY)
        model = lambda call: Persistence().predict(call.context, None, call.horizon)  # noqa: E731
        calls = [batcher.submit(model, "one", Call(context[i : i + 1], None, 1)) for i in range(5)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask_all())
    assert [isinstance(answer, ValueError) for answer in answers] == [False, False, True, False, False]


def test_a_caller_that_gives_up_stops_nobody():
    async def ask():
        batcher = MicroBatcher(max_batch=100, max_delay=MAX_DELAY)
        model = lambda call: Persistence().predict(call.context, None, call.horizon)  # noqa: E731
        hasty = asyncio.create_task(batcher.submit(model, "one", Call(walks(1, 10), None, 1)))
        patient = asyncio.create_task(batcher.submit(model, "one", Call(walks(1, 10), None, 1)))
        await asyncio.sleep(0)
        hasty.cancel()
        return await patient, await batcher.submit(model, "one", Call(walks(1, 10), None, 1))

    assert all(answer.quantiles.isfinite().all() for answer in asyncio.run(ask()))


# The service


def served(coroutine, specs=("persistence",), **settings):
    """What `coroutine(service)` gives."""

    async def run():
        service = ForecastService(share=lambda table: table, max_delay_ms=1e3 * MAX_DELAY, **settings)
        for spec in specs:
            service.load(spec)
        return await coroutine(service)

    return asyncio.run(run())


def test_any_shape_and_stamps_go_through_the_service_unchanged():
    context = walks(3, 4, 20)
    stamps = 86_400 * 10**9 * torch.arange(25)
    expected = Drift().predict(context, stamps, 5)

    async def ask(service):
        version = service.load("drift").fingerprint
        one, of_all = context[1, 2], await service.predict(version, context, stamps, 5)
        return of_all, await service.predict(version, one, stamps, 5), await service.predict(version, one, None, 5)

    of_all, of_one, without = served(ask)
    torch.testing.assert_close(of_all.quantiles, expected.quantiles)
    torch.testing.assert_close(of_one.quantiles, expected.quantiles[1, 2])
    torch.testing.assert_close(without.quantiles, expected.quantiles[1, 2])


def test_versions_live_beside_each_other_and_unknown_ones_are_named():
    context = walks(2, 20)

    async def ask(service):
        versions = [service.load(spec).fingerprint for spec in ("persistence", "drift", "drift")]
        answers = await asyncio.gather(*(service.predict(version, context, None, 3) for version in versions))
        with pytest.raises(UnknownVersion, match="no forecaster of version 0123"):
            await service.predict("0123", context, None, 3)
        return answers, service.health()

    (persistence, drift, again), health = served(ask)
    torch.testing.assert_close(persistence.quantiles, Persistence().predict(context, None, 3).quantiles)
    torch.testing.assert_close(drift.quantiles, Drift().predict(context, None, 3).quantiles)
    torch.testing.assert_close(again.quantiles, drift.quantiles)
    assert [version.spec for version in health.versions] == ["persistence", "drift"]
    assert (health.requests, health.predictions, health.model_calls) == (3, 6, 2)
    assert health.latency_ms_p50 > 0


def test_what_was_asked_before_is_answered_from_memory():
    context = walks(4, 20)

    async def ask(service):
        version = service.load("drift").fingerprint
        first = await service.predict(version, context, None, 3)
        return first, await service.predict(version, context, None, 3), service.health()

    first, second, health = served(ask)
    assert torch.equal(first.quantiles, second.quantiles)
    assert health.hit_rate == 0.5


def test_calls_to_a_forecaster_that_draws_paths_are_answered_alone(monkeypatch):
    """Its draws depend on a series' place in the call, so company would change the numbers."""
    monkeypatch.setattr(service_module, "load_forecaster", lambda spec, device: Paths())
    context = walks(3, 10)

    async def ask(service):
        calls = (service.predict("paths-1", context[i : i + 1], None, 2) for i in range(3))
        return await asyncio.gather(*calls), service.health()

    answers, health = served(ask, specs=["paths"])
    alone = Paths().predict(context[:1], None, 2)
    assert all(torch.equal(answer.samples, alone.samples) for answer in answers)
    assert health.model_calls == 3


def test_what_no_forecaster_can_answer_is_refused_before_it_meets_others():
    async def ask(service):
        version = service.health().versions[0].fingerprint
        with pytest.raises(ValueError, match="expected floats"):
            await service.predict(version, walks(2, 10)[..., :5], None, 3)
        with pytest.raises(ValueError, match="horizon is 0"):
            await service.predict(version, walks(2, 10), None, 0)
        return service.health().model_calls

    assert served(ask) == 0


@pytest.mark.parametrize("stored", [False, True])
def test_a_table_is_made_once_for_all(tmp_path, stored):
    bars = walks(2, 3, 40, seed=4).transpose(1, 2)  # [W, T, A, 6]

    async def ask(service):
        version = service.health().versions[0].fingerprint
        tables = await asyncio.gather(*(service.table(version, TableRequest(bars, 30, 20)) for _ in range(4)))
        other = await service.table(version, TableRequest(bars, 31, 20))
        return [*tables, await service.table(version, TableRequest(bars.clone(), 30, 20))], other, service.health()

    tables, other, health = served(ask, table_folder=str(tmp_path) if stored else None)
    expected = build_table(Persistence(), TableRequest(bars, 30, 20))
    assert all(torch.equal(table, expected) for table in tables)
    assert other[:, 30].abs().sum() == 0
    assert (health.tables_asked, health.tables_built) == (6, 2)
    assert len(list(tmp_path.iterdir())) == (4 if stored else 0)


def test_a_table_that_failed_is_tried_again():
    bars = walks(1, 3, 40).transpose(1, 2)

    async def ask(service):
        version = service.health().versions[0].fingerprint
        for _ in range(2):
            with pytest.raises(ValueError, match="first is 5"):
                await service.table(version, TableRequest(bars, 5, 20))
        return service.health()

    assert served(ask).tables_built == 2


def test_only_the_latest_tables_are_kept(monkeypatch):
    monkeypatch.setattr(service_module, "MAX_TABLES", 2)
    windows = [walks(1, 2, 30, seed=seed).transpose(1, 2) for seed in range(3)]

    async def ask(service):
        version = service.health().versions[0].fingerprint
        for place in (0, 1, 0, 2, 0, 1):  # 1 has been asked for least recently when 2 comes
            await service.table(version, TableRequest(windows[place], 20, 10))
        return service.health()

    assert served(ask).tables_built == 4


# The actor


@pytest.fixture(scope="module")
def ray_started():
    ray = start_ray(RayConfig(), 2)
    yield ray
    ray.shutdown()


@pytest.fixture
def name(request):
    """One a test: a killed actor keeps its name for a moment."""
    return request.node.name


@pytest.fixture
def actor(ray_started, name):
    handle = serving.start_server(["persistence"], name, num_cpus=0, max_delay_ms=1e3 * MAX_DELAY)
    yield handle
    ray_started.kill(handle)


on_ray = [pytest.mark.ray]


def until_dead(actor):
    """Killing takes a moment, and until then the name finds the old one."""
    import ray

    while True:
        try:
            ray.get(actor.health.remote())
        except ray.exceptions.ActorDiedError:
            return


class TestActor:
    pytestmark = on_ray

    def test_a_client_gives_the_numbers_of_the_local_forecaster(self, actor, name):
        context = walks(3, 4, 20)
        stamps = 86_400 * 10**9 * torch.arange(25)
        for spec, local in (("persistence", Persistence()), ("drift", Drift())):
            remote = serving.RemoteForecaster(spec, name)
            assert remote.info == local.info
            assert remote.info.name == spec
            for given in (stamps, None):
                expected = local.predict(context, given, 5).quantiles
                torch.testing.assert_close(remote.predict(context, given, 5).quantiles, expected)
            assert remote.stats().calls == 2
        with pytest.raises(ValueError, match="horizon is 0"):
            remote.predict(context, None, 0)
        with pytest.raises(ValueError, match="did you mean drift"):
            serving.RemoteForecaster("drif", name)

    def test_calls_of_many_threads_are_merged(self, actor, name):
        context = walks(24, 20)
        remote = serving.RemoteForecaster("persistence", name)
        answers = [None] * 24

        def ask(place):
            answers[place] = remote.predict(context[place : place + 1], None, 5).quantiles

        threads = [threading.Thread(target=ask, args=(place,)) for place in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        torch.testing.assert_close(torch.cat(answers), Persistence().predict(context, None, 5).quantiles)
        health = remote.health()
        assert (health.requests, health.predictions) == (24, 24)
        assert health.model_calls < 24

    def test_tables_are_shared_and_read_only(self, actor, ray_started, name):
        bars = walks(2, 3, 40).transpose(1, 2)
        remote = serving.RemoteForecaster("persistence", name)
        tables = [remote.table(TableRequest(bars, 30, 20)) for _ in range(2)]
        expected = build_table(Persistence(), TableRequest(bars, 30, 20))
        assert torch.equal(tables[0], expected)
        assert tables[0].data_ptr() == tables[1].data_ptr(), "one copy in shared memory"
        assert remote.health().tables_built == 1

    @pytest.mark.parametrize("for_good", [False, True])
    def test_a_killed_server_comes_back_with_what_its_clients_need(self, actor, ray_started, name, for_good):
        context = walks(3, 20)
        bars = walks(1, 3, 40).transpose(1, 2)
        remote = serving.RemoteForecaster("drift", name)  # loaded later: a new actor does not have it
        before, table = remote.predict(context, None, 5), remote.table(TableRequest(bars, 30, 20)).clone()
        ray_started.kill(actor, no_restart=for_good)
        if for_good:
            until_dead(actor)
            actor = serving.start_server(["persistence"], name, num_cpus=0)
        after = remote.predict(context, None, 5)
        assert torch.equal(after.quantiles, before.quantiles)
        assert torch.equal(remote.table(TableRequest(bars, 30, 20)), table)
        assert [version.forecaster.name for version in remote.health().versions] == ["persistence", "drift"]

    def test_a_table_whose_owner_has_gone_is_made_again(self, actor, ray_started, name, monkeypatch):
        bars = walks(1, 4, 3000).transpose(1, 2)  # a small table would travel within its reference
        remote = serving.RemoteForecaster("persistence", name)
        ask = remote._ask
        request = TableRequest(bars, 30, 20)
        answers = iter([ask("table", bars.numpy(), None, 30, 20, request.horizon)])
        ray_started.kill(actor, no_restart=False)
        while remote.health().tables_built:
            pass  # killing takes a moment
        monkeypatch.setattr(remote, "_ask", lambda *call: next(answers, None) or ask(*call))
        assert torch.equal(remote.table(request), build_table(Persistence(), request))
        assert next(answers, "used") == "used"
        assert remote.health().tables_built == 1, "by the actor that came after"

    def test_without_a_server_the_error_says_how_to_start_one(self, ray_started, monkeypatch):
        monkeypatch.setattr(serving, "FIRST_WAIT", 0.001)
        with pytest.raises(serving.ServerGone, match="'nobody' does not answer; start it with"):
            serving.RemoteForecaster("persistence", "nobody")

    def test_a_local_forecaster_is_loaded_once_and_is_what_the_server_has(self, actor, name, monkeypatch):
        connection = serving.Connection(name)
        mine = serving.local_forecaster("drift", connection)
        assert serving.local_forecaster("drift", connection) is mine
        assert mine.info.fingerprint == serving.RemoteForecaster("drift", name).info.fingerprint
        serving._loaded.cache_clear()
        monkeypatch.setattr(serving, "load_forecaster", lambda spec, device: Persistence())
        with pytest.raises(ValueError, match="is not what the server began with"):
            serving.local_forecaster("drift", connection)
        serving._loaded.cache_clear()

    def test_a_server_that_cannot_load_says_so_where_it_is_started(self, ray_started):
        with pytest.raises(ValueError, match="did you mean drift"):
            serving.start_server(["drif"], "unlucky", num_cpus=0)

    def test_the_actor_has_a_readable_name_and_is_found_again(self, actor, ray_started, name):
        again = serving.start_server(["drift"], name, num_cpus=0)
        assert again._actor_id == actor._actor_id
        assert repr(serving.ForecastServer(["persistence", "drift"])) == "ForecastServer(persistence, drift)"
