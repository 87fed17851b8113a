"""What follows from the command line of an online run: frozen encoders without augmentation, options, what a start gives."""

import pytest
import torch

from robot_pt import checkpoint
from robot_pt.agents.ptr import PTRConfig
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import online_setup as setup
from robot_pt.recipes import runs
from robot_pt.recipes.online_setup import Wanted
from tests.online.toys import PIXELS

SIZE = (16, 16)
PIXELS16 = type(PIXELS)(**{**PIXELS.to_json(), "cameras": {"primary": SIZE}})
BEFORE = runs.RunSettings(
    algorithm="ptr", encoder=EncoderConfig(name="small", latent=8), camera="primary", image_size=SIZE, task_slots=3,
    ptr=PTRConfig(augment=AugmentConfig(pad=1)),
)  # fmt: skip


def wanted(**more) -> Wanted:
    return Wanted(task="go", **more)


def test_a_frozen_encoder_goes_without_augmentation() -> None:
    assert setup.settings_of(BEFORE, wanted()) == BEFORE
    for algorithm in ("ptr", "cal_ql", "rlpd", "bc"):
        now = setup.settings_of(BEFORE, wanted(algorithm=algorithm, freeze_encoder=True))
        assert now.frozen == "encoder"
        assert setup.config_of(now).augment is None
        assert setup.encodes_once(now)
        again = setup.settings_of(now, wanted())  # from a run that was frozen, asked for or not
        assert (again.frozen, setup.config_of(again).augment) == ("encoder", None)
    assert setup.settings_of(BEFORE, wanted(algorithm="rlpd")).options.critic == "ensemble"  # which has no LayerNorm
    windows = setup.settings_of(BEFORE, wanted(algorithm="bet", freeze_encoder=True))
    assert not setup.encodes_once(windows)
    assert windows.frozen == "encoder"


def test_a_run_of_the_state_has_no_encoder_to_freeze() -> None:
    state = runs.RunSettings(
        algorithm="bc", encoder=EncoderConfig(name="small"), camera="", image_size=(0, 0), task_slots=3
    )
    with pytest.raises(UserError, match="learned from the state alone"):
        setup.settings_of(state, wanted(freeze_encoder=True))
    assert not setup.encodes_once(state)


def test_options_change_the_algorithm_that_learns() -> None:
    now = setup.settings_of(BEFORE, wanted(algorithm="cal_ql", options=("weight=2", "target_gap=none", "heads=2")))
    assert (now.options.weight, now.options.target_gap) == (2, None)
    assert now.options.critic == "ptr"  # what PTR's weights fit stays
    assert setup.settings_of(BEFORE, wanted(options=("alpha=3",))).ptr == PTRConfig(
        alpha=3, augment=AugmentConfig(pad=1)
    )
    with pytest.raises(UserError, match="ptr has no option 'weight'"):
        setup.settings_of(BEFORE, wanted(options=("weight=2",)))


def test_a_task_in_some_place_is_learned_under_the_name_its_episodes_say(tmp_path, tasks) -> None:
    """Not under TASK@PLACE, which no episode says: the actors would be refused their own task."""
    agent = BEFORE.build(PIXELS16, "cpu")
    trained = runs.record(agent, BEFORE, PIXELS16, tasks, [])
    for task in ("kitchen/open-drawer@2", "kitchen/open-drawer"):
        names = setup.task_table(trained, tmp_path, Wanted(task=task), {}).names
        assert names == (*tasks.names, "kitchen/open-drawer")
    known = tasks.names[0]
    assert setup.task_table(trained, tmp_path, Wanted(task=f"{known}@7"), {}).names == tasks.names


@pytest.mark.parametrize("algorithm", ["ptr", "cal_ql"])
def test_an_initial_temperature_takes_the_place_of_the_runs(tmp_path, tasks, algorithm) -> None:
    trained = BEFORE.build(PIXELS16, "cpu")
    trained.temperature.restart(0.5)
    record = runs.record(trained, BEFORE, PIXELS16, tasks, [])
    checkpoint.save(tmp_path, 1, trained, record, {"pretrain": {}})
    start = checkpoint.start_of(tmp_path)
    for options, temperature in (((), 0.5), (("actions=2", "initial_temperature=0.02"), 0.02)):
        now = setup.settings_of(BEFORE, wanted(algorithm=algorithm, options=options))
        agent = now.build(PIXELS16, "cpu")
        setup.load_start(agent, start, same_algorithm=algorithm == "ptr", options=options)
        assert float(agent.temperature().detach()) == pytest.approx(temperature)
        assert torch.equal(agent.critic.q.bias, trained.critic.q.bias)
        assert torch.equal(agent.actor.mean.weight, trained.actor.mean.weight)
