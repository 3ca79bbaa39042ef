"""Checkpoints: what comes back, from what, and what is said when it cannot."""

import os
import shutil
import signal
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxdistill.errors import InputError
from jaxdistill.run.checkpoint import Checkpoints
from jaxdistill.run.snapshots import read_part, saved_steps


class State(NamedTuple):
    step: Any
    images: Any
    nets: Any
    opt: Any
    key: Any
    nothing: Any = None
    empty: Any = ()


def make_state(ipc: int = 4) -> State:
    images = jax.random.normal(jax.random.key(ipc), (ipc, 8, 8, 1))
    nets = {"kernel": jnp.arange(48.0).reshape(8, 6).astype(jnp.bfloat16)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return State(jnp.int32(7), images, nets, tx.init(images), jax.random.key(3))


def like(state: Any, sharding: Any = None) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=sharding or x.sharding
        ),
        state,
    )


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with steps 5 and 10, of states that differ in values only."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.latest() is None
        for step in (5, 10):
            state = make_state()._replace(step=jnp.int32(step))
            checkpoints.save(step, state, {"best": step / 2, "name": "é"})
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def test_every_kind_of_leaf_comes_back(saved):
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.latest() == 10
        for asked, step in ((None, 10), (5, 5)):
            state, extra = checkpoints.restore(asked, like(make_state()))
            assert_same(state, make_state()._replace(step=jnp.int32(step)))
            assert extra == {"best": step / 2, "name": "é"}


def test_sharded_over_four_then_restored_on_one_and_on_two(tmp_path):
    def shard(count, axis):
        mesh = jax.make_mesh(
            (count,), ("n",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
        )
        return NamedSharding(mesh, PartitionSpec(*axis))

    value = jnp.arange(64.0).reshape(8, 8)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"nets": jax.device_put(value, shard(4, ("n",)))}, {})
        checkpoints.wait()
        for wanted in (
            SingleDeviceSharding(jax.devices()[0]),
            shard(2, ("n",)),
            shard(4, (None, "n")),
        ):
            state, _ = checkpoints.restore(1, like({"nets": value}, wanted))
            assert state["nets"].sharding == wanted
            np.testing.assert_array_equal(state["nets"], value)


def test_the_state_may_be_donated_while_it_is_saved(tmp_path):
    overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(2):
            value = jax.random.normal(jax.random.key(step), (400, 400))
            copy = np.array(value)
            checkpoints.save(step, {"x": value}, {})
            overwrite(overwrite(value)).block_until_ready()
            checkpoints.wait()
            state, _ = checkpoints.restore(
                step, like({"x": overwrite(jnp.array(copy))})
            )
            np.testing.assert_array_equal(state["x"], copy)


def test_only_the_last_are_kept_and_a_saved_step_is_not_saved_again(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 3):
            checkpoints.save(step, {"x": jnp.ones(2) * step}, {})
    assert saved_steps(tmp_path) == [2, 3]


def test_another_ipc_is_named(saved):
    with Checkpoints(saved) as checkpoints, pytest.raises(InputError) as caught:
        checkpoints.restore(10, like(make_state(ipc=6)))
    assert str(caught.value) == (
        f"checkpoint {saved}/10 has images of shape float32[4,8,8,1] but the config "
        "asks for float32[6,8,8,1]: did ipc change? If so go back to the config it was "
        "made with, or use a new --workdir"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"opt": ()}, r"has opt\.1\.0\.count, unlike"),
        ({"empty": {"velocity": jnp.ones(2)}}, r"lacks empty\.velocity, unlike"),
        ({"images": jnp.ones((4, 16, 16, 1))}, r"did data\.size change"),
        ({"nets": {"kernel": jnp.ones((8, 6))}}, r"bfloat16\[8,6\] .*float32\[8,6\]"),
    ],
)
def test_other_differences_are_named(saved, change, words):
    wanted = like(make_state()._replace(**change))
    with Checkpoints(saved) as checkpoints, pytest.raises(InputError, match=words):
        checkpoints.restore(10, wanted)


@pytest.mark.parametrize(
    "name", ["_METADATA", "manifest.ocdbt", "data", "extra/metadata", "missing"]
)
def test_a_truncated_checkpoint_is_set_aside_for_the_one_before(copied, name, capsys):
    step = copied / "10"
    if name == "missing":
        shutil.rmtree(step / "state")
    elif name == "data":
        for file in step.glob("state/**/d/*"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file = step / (name if "/" in name else f"state/{name}")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(InputError) as caught:
            checkpoints.restore(None, like(make_state()))
        said = f"checkpoint {step} is truncated or damaged: "
        assert str(caught.value) == said + "restore it from a copy"
        latest, state = checkpoints.newest(like(make_state()))
        assert latest == int(state.step) == 5
        told = capsys.readouterr().err
        assert (
            told == f"note: {said}it is kept as 10.aside, the run goes on from step 5\n"
        )
        checkpoints.save(10, make_state()._replace(step=jnp.int32(10)), {})
        checkpoints.wait()
        assert checkpoints.newest(like(make_state()))[0] == 10
    assert sorted(os.listdir(copied)) == ["10", "10.aside", "5"]


def test_nothing_to_restore(tmp_path):
    match = "holds no checkpoint"
    with Checkpoints(tmp_path) as empty, pytest.raises(InputError, match=match):
        empty.restore(None, like(make_state()))


EXPERTS = {
    f"expert_{i:03d}": {"dense": {"kernel": jnp.full((64, 9), i)}} for i in range(20)
}


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """Twenty networks whose weights are their numbers, on the disk as bfloat16."""
    folder = tmp_path_factory.mktemp("experts with a space")
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), EXPERTS)
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(0, {"params": half, "epoch": jnp.int32(0)}, {})
    return folder


def test_one_expert_is_read_without_the_others(experts):
    shape = {"dense": {"kernel": jax.ShapeDtypeStruct((64, 9), jnp.float32)}}
    for number in (3, 0, 19):
        part = read_part(experts, 0, ("params", f"expert_{number:03d}"), shape)
        assert part["dense"]["kernel"].dtype == np.float32
        np.testing.assert_array_equal(part["dense"]["kernel"], np.full((64, 9), number))


def test_a_part_is_a_part_of_the_bytes(tmp_path):
    noise = jax.random.normal(jax.random.key(0), (30, 100, 100))
    state = {f"expert_{i:03d}": {"kernel": x} for i, x in enumerate(noise)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, {"params": state}, {})
    shape = {"kernel": jax.ShapeDtypeStruct((100, 100), jnp.float32)}
    code = (
        "import sys, jax; from pathlib import Path\n"
        "from jaxdistill.run.snapshots import read_part\n"
        "like = {'kernel': jax.ShapeDtypeStruct((100, 100), 'float32')}\n"
        "def read(): return int(Path('/proc/self/io').read_text().split()[1])\n"
        "part = lambda i: read_part(Path(sys.argv[1]), 0, ('params', i), like)\n"
        "part('expert_000'); start = read(); part('expert_011'); print(read() - start)"
    )
    np.testing.assert_array_equal(
        read_part(tmp_path, 0, ("params", "expert_011"), shape)["kernel"], noise[11]
    )
    if not os.access("/proc/self/io", os.R_OK):
        pytest.skip("this system does not count what a process reads")
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(told) < 3 * noise[11].nbytes  # of 30


@pytest.mark.parametrize(
    ("keys", "shape", "words"),
    [
        (("params", "expert_099"), (64, 9), r"lacks params\.expert_099\.dense\.kernel"),
        (("params", "expert_001"), (64, 8), r"has params.*\(64, 9\) but .*\(64, 8\)"),
    ],
)
def test_experts_of_another_network(experts, keys, shape, words):
    wanted = {"dense": {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}}
    with pytest.raises(InputError, match=words):
        read_part(experts, 0, keys, wanted)


def test_a_damaged_or_absent_part(experts, tmp_path):
    wanted = {"dense": {"kernel": jax.ShapeDtypeStruct((64, 9), jnp.float32)}}
    with pytest.raises(InputError, match="holds no checkpoint 4"):
        read_part(experts, 4, ("params", "expert_001"), wanted)
    copy = shutil.copytree(experts, tmp_path / "copy")
    for file in (copy / "0/state").glob("**/d/*"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"truncated or damaged: restore it"):
        read_part(copy, 0, ("params", "expert_001"), wanted)


SAVING = """
import resource, sys
import jax, jax.numpy as jnp
from pathlib import Path
from jaxdistill.errors import InputError
from jaxdistill.run.checkpoint import Checkpoints
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
checkpoints = Checkpoints(folder, keep=2)
start = (checkpoints.latest() or 0) + 1
print("start", start, flush=True)
try:
    for step in range(start, start + 10_000):
        if limit and step == 3:
            checkpoints.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        noise = jax.random.normal(jax.random.key(step), (300, 300))
        checkpoints.save(step, {"x": noise}, {"step": step})
        print("saving", step, flush=True)
    checkpoints.close()
except InputError as error:
    print("told", error)
"""


def test_kill_at_any_moment_loses_no_finished_step(tmp_path):
    command = [sys.executable, "-c", SAVING, str(tmp_path), "0"]
    for lines in (4, 7):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            said = [process.stdout.readline() for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
        step = int(said[-1].split()[1])
        # The save before the one just begun was waited for.
        assert max(saved_steps(tmp_path)) >= step - 1
        (tmp_path / "77.orbax-checkpoint-tmp").mkdir()
        with Checkpoints(tmp_path) as checkpoints:
            last = checkpoints.latest()
            state, extra = checkpoints.restore(None, like({"x": jnp.ones((300, 300))}))
            assert extra == {"step": last}
            expected = jax.random.normal(jax.random.key(last), (300, 300))
            np.testing.assert_array_equal(state["x"], expected)
        assert not list(tmp_path.glob("*tmp*"))


def test_a_disk_full_while_saving_is_told_once_and_keeps_the_steps_before(tmp_path):
    command = [sys.executable, "-c", SAVING, str(tmp_path), "60000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()[-1]
    assert told.startswith(
        f"told cannot write {tmp_path}: the file exceeds the size limit"
    )
    assert "Traceback" not in done.stderr
    assert saved_steps(tmp_path) == [1, 2]
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]
