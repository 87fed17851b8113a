import itertools
import json
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch

from robot_pt.errors import UserError
from robot_pt.observers import DivergenceError
from robot_pt.schema import Batch
from robot_pt.train import TrainingInterrupted, train


class Counter:
    """Agent whose loss is its step: what is logged can be said in advance."""

    def __init__(self, loss=float, weight=0.0):
        self.loss, self.steps, self.weight = loss, [], torch.tensor([weight])

    def update(self, batch, step):
        assert isinstance(batch.action, torch.Tensor)
        self.steps.append(step)
        return {"loss": torch.tensor(self.loss(step)), "b": torch.tensor(2.0)}

    def state_dict(self):
        return {"weight": self.weight}


class Recorder:
    def __init__(self):
        self.calls = []

    def start(self, step, steps):
        self.calls.append(("start", step, steps))

    def step(self, step):
        self.calls.append(("step", step))

    def metrics(self, step, values):
        self.calls.append(("metrics", step, values))

    def close(self):
        self.calls.append(("close",))

    def logged(self):
        return [(c[1], c[2]["loss"]) for c in self.calls if c[0] == "metrics"]


def batches():
    blank = np.zeros((4, 7), np.float32)
    while True:
        yield Batch(*({"c": blank} if n in ("images", "next_images") else blank for n in Batch._fields))


def test_metrics_are_means_over_windows_and_the_last_is_returned():
    agent, seen = Counter(), Recorder()
    last = train(agent, batches(), steps=7, observers=[seen], log_every=3)
    assert agent.steps == list(range(7))
    assert seen.logged() == [(3, 1.0), (6, 4.0), (7, 6.0)]
    assert last == {"loss": 6.0, "b": 2.0}
    assert seen.calls[0] == ("start", 0, 7)
    assert seen.calls[-1] == ("close",)
    assert [c[1] for c in seen.calls if c[0] == "step"] == list(range(1, 8))


def test_speed_is_reported_beside_what_was_learned():
    seen = Recorder()
    train(Counter(), batches(), steps=2, observers=[seen], log_every=2)
    values = seen.calls[-2][2]
    assert values["speed/samples_per_s"] == pytest.approx(4 * values["speed/updates_per_s"])
    assert 0 <= values["speed/data_wait_percent"] <= 100


def test_resuming_inside_a_window_logs_the_same_means():
    states = {}
    whole, part = Recorder(), Recorder()
    train(
        Counter(lambda s: s / 3),
        batches(),
        steps=9,
        observers=[whole],
        log_every=4,
        checkpoint_every=3,
        save=states.__setitem__,
    )
    assert sorted(states) == [3, 6, 9]
    state = json.loads(json.dumps(states[6]))
    train(Counter(lambda s: s / 3), batches(), start=6, state=state, steps=9, observers=[part], log_every=4)
    assert part.logged() == [m for m in whole.logged() if m[0] > 6]


class EveryThird(Counter):
    """Reports "both" at each update and "third" at each third."""

    def update(self, batch, step):
        both = {"both": torch.tensor(float(step))}
        return both | {"third": torch.tensor(10.0 * step)} if step % 3 == 2 else both


def test_a_metric_is_the_mean_over_the_updates_that_report_it():
    seen = Recorder()
    assert train(EveryThird(), batches(), steps=12, observers=[seen], log_every=6) == {"both": 8.5, "third": 95.0}
    assert [c[2]["third"] for c in seen.calls if c[0] == "metrics"] == [35.0, 95.0]


def test_resuming_between_kinds_of_updates_logs_the_same_means():
    states = {}
    whole = train(EveryThird(), batches(), steps=8, log_every=8, checkpoint_every=4, save=states.__setitem__)
    state = json.loads(json.dumps(states[4]))
    assert train(EveryThird(), batches(), start=4, state=state, steps=8, log_every=8) == whole


def test_a_bad_metric_of_some_updates_names_the_first_of_them():
    class Bad(EveryThird):
        def update(self, batch, step):
            return {
                n: v * (math.nan if n == "third" and step > 5 else 1) for n, v in super().update(batch, step).items()
            }

    with pytest.raises(DivergenceError, match="third became nan at update 9;"):
        train(Bad(), batches(), steps=12, log_every=12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_names_itself_and_its_update(bad):
    seen, saved = Recorder(), []
    agent = Counter(lambda s: bad if s >= 5 else 1.0)
    with pytest.raises(DivergenceError, match=r"loss became (nan|inf) at update 6;"):
        train(
            agent,
            batches(),
            steps=20,
            observers=[seen],
            log_every=4,
            checkpoint_every=4,
            save=lambda *a: saved.append(a[0]),
        )
    assert saved == [4]
    assert seen.calls[-1] == ("close",)


def test_a_checkpoint_between_two_logs_never_holds_a_bad_window():
    saved = []
    with pytest.raises(DivergenceError, match="update 2"):
        train(Counter(lambda s: math.nan if s == 1 else 1.0), batches(), steps=9, log_every=100, checkpoint_every=3,
              save=lambda *a: saved.append(a))  # fmt: skip
    assert saved == []


def test_bad_weights_are_never_saved_even_where_the_loss_looks_well():
    saved = []
    with pytest.raises(DivergenceError, match="weight holds NaN or Inf after update 5"):
        train(Counter(weight=math.nan), batches(), steps=5, save=lambda *a: saved.append(a))
    assert saved == []


def test_nothing_is_done_twice():
    agent, saved = Counter(), []
    assert train(agent, batches(), start=5, steps=5, save=lambda *a: saved.append(a)) == {}
    assert agent.steps == saved == []


def test_senseless_numbers_and_short_data_are_refused():
    for wrong in ({"log_every": 0}, {"checkpoint_every": -1}, {"steps": -1}):
        with pytest.raises(UserError, match="give numbers"):
            train(Counter(), batches(), **{"steps": 3, **wrong})
    with pytest.raises(UserError, match="ended after 2 of 3"):
        train(Counter(), itertools.islice(batches(), 2), steps=3)


class Signals:
    """Sends a signal to its own process while update `at` runs."""

    def __init__(self, at, times=1):
        self.at, self.times = at, times

    def __call__(self, step):
        if step == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return 1.0


def test_ctrl_c_finishes_the_update_saves_and_restores_the_handler():
    before = signal.getsignal(signal.SIGINT)
    agent, saved = Counter(Signals(3)), []
    with pytest.raises(TrainingInterrupted, match=r"after 4 of 100 updates: a checkpoint was saved"):
        train(agent, batches(), steps=100, save=lambda *a: saved.append(a[0]))
    assert saved == [4]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(TrainingInterrupted, match="nothing was saved"):
        train(Counter(Signals(3)), batches(), steps=100)


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt):
        train(Counter(Signals(3, times=2)), batches(), steps=100)


def test_ctrl_c_in_the_last_update_is_a_finished_run():
    saved = []
    train(Counter(Signals(4)), batches(), steps=5, save=lambda *a: saved.append(a[0]))
    assert saved == [5]


def test_off_the_main_thread_signals_are_left_alone():
    out = []
    thread = threading.Thread(target=lambda: out.append(train(Counter(), batches(), steps=3)))
    thread.start()
    thread.join(30)
    assert out == [{"loss": 1.0, "b": 2.0}]


def test_other_processes_are_asked_and_only_the_first_saves():
    class Second:
        rank, world_size = 1, 2

        def mean(self, values):
            return values + 10

        def any(self, flag):
            return flag

    saved = []
    last = train(Counter(), batches(), steps=4, log_every=2, save=lambda *a: saved.append(a), processes=Second())
    assert last == {"loss": 12.5, "b": 12.0}
    assert saved == []


def test_gradient_norms_are_logged_beside_the_agents_own_metrics():
    class Learner(Counter):
        def __init__(self):
            super().__init__()
            self.actor, self.grad_sync = torch.nn.Linear(2, 1), lambda parameters: None

        def update(self, batch, step):
            self.actor.zero_grad()
            (self.actor.weight * torch.tensor([3.0, 4.0])).sum().backward()
            self.grad_sync(self.actor.parameters())
            return super().update(batch, step)

    assert train(Learner(), batches(), steps=4, log_every=2)["actor/grad_norm"] == 5
