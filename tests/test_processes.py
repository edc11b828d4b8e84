"""Models in other threads and processes, and the same bits whoever computes them, and where."""

import concurrent.futures
import copy
import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from programs import environment, printed_by

import minidl
from minidl import Tensor, nn, optim

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 5)).astype(np.float32)
Y = rng.integers(0, 3, 60)


def network(seed=0):
    """Every kind of layer that has a state; nothing of it draws from minidl's own generator."""
    return nn.Sequential(
        nn.Linear(5, 8, rng=seed),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.2, rng=seed),
        nn.Linear(8, 3, rng=seed + 1),
    )


def train(model, seed=0, epochs=3):
    """A digest of what training this model comes to."""
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loader = minidl.data.DataLoader(X, Y, batch_size=16, shuffle=True, rng=seed)
    history = minidl.fit(
        model, nn.CrossEntropyLoss(), optimizer, loader, epochs=epochs, progress=False
    )
    digest = hashlib.sha256(repr(dict(history)).encode())
    for array in model.state_dict().values():
        digest.update(array.tobytes())
    return digest.hexdigest()


def task(model):
    """What a worker does with the model that it was sent: predict, train, and send it back."""
    before = minidl.predict(model, X)
    return before, train(model), model


# --- Copies and pickles ---------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_trains_to_the_same_bits_and_shares_nothing(copied):
    model = network()
    optimizer = optim.Adam(model.parameters())  # parameters are views into its memory
    nn.CrossEntropyLoss()(model(X), Y).backward()
    optimizer.step()
    before = {name: value.tobytes() for name, value in model.state_dict().items()}
    first, second = copied(model), copied(model)
    assert train(first) == train(second)
    assert before == {name: value.tobytes() for name, value in model.state_dict().items()}


def test_a_result_cannot_be_pickled_or_copied_and_says_why():
    y = Tensor([1.0], requires_grad=True) * 2
    for call in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"its history would be lost: use detach\(\) or numpy"):
            call(y)
    assert pickle.loads(pickle.dumps(y.detach())).item() == 2


# --- Processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_model_goes_to_a_process_pool_and_comes_back_trained(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    models = [network(seed) for seed in range(2)]
    expected = [task(copy.deepcopy(model)) for model in models]
    # A fresh process is forked, since pytest's own may have threads, which a fork would lose.
    code = (
        "import concurrent.futures as f, multiprocessing as m, pickle, sys, test_processes as t\n"
        "if __name__ == '__main__':\n"
        "    models = pickle.loads(sys.stdin.buffer.read())\n"
        "    t.train(t.network())\n"  # what a parent has done must not disturb its children
        f"    context = m.get_context({method!r})\n"
        "    with f.ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "        found = list(pool.map(t.task, models))\n"
        "    sys.stdout.buffer.write(pickle.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        input=pickle.dumps(models),
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    for found, right in zip(pickle.loads(done.stdout), expected, strict=True):
        np.testing.assert_array_equal(found[0], right[0])
        assert found[1] == right[1]
        for name, value in right[2].state_dict().items():
            np.testing.assert_array_equal(found[2].state_dict()[name], value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_model_half_way_through_training_goes_on_after_fork_as_in_the_parent():
    code = (
        "import os, test_processes as t\n"
        "model = t.network()\n"
        "t.train(model)\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.write(write, t.train(model).encode())\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(t.train(model) == os.read(read, 1000).decode())\n"
    )
    assert printed_by("-c", code) == "True\n"


def test_the_same_seed_gives_the_same_bits_in_another_process_hash_seed_and_folder(tmp_path):
    code = (
        "import minidl, test_processes as t\n"
        "from minidl import nn\n"
        "minidl.seed(5)\n"
        "model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))\n"
        "print(t.train(model, seed=None))\n"
    )
    outputs = {
        printed_by("-c", code, PYTHONHASHSEED="1"),
        printed_by("-c", code, PYTHONHASHSEED="2", cwd=tmp_path),
        printed_by("-c", code, PYTHONHASHSEED="0", cwd="/"),
    }
    assert len(outputs) == 1
    minidl.seed(5)
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    assert train(model, seed=None) + "\n" in outputs


# --- Threads --------------------------------------------------------------------------------------


def test_threads_that_train_models_of_their_own_get_what_they_get_alone():
    alone = [train(network(seed), seed, epochs=10) for seed in range(4)]
    start = threading.Barrier(4)

    def work(seed):
        start.wait()
        return train(network(seed), seed, epochs=10)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == alone


def test_threads_may_predict_with_one_model_in_eval_mode():
    model = network().eval()
    right = model(X).data
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model(X).data, range(40)):
            np.testing.assert_array_equal(found, right)


def test_no_grad_and_debug_in_one_thread_leave_the_others_as_they_were():
    inside, done = threading.Event(), threading.Event()

    def without_gradients():
        with minidl.no_grad(), minidl.debug():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=without_gradients)
    thread.start()
    inside.wait(10)
    try:
        x = Tensor([0.0], requires_grad=True)
        y = np.sqrt(x)
        assert y.requires_grad
        y.backward()  # an infinite gradient, which debug mode would refuse
        assert np.isinf(x.grad)
    finally:
        done.set()
        thread.join()
