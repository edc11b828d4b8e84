"""The search over settings: the same best wherever it runs, and it outlives its workers."""

import importlib.util
import json

import pytest
from programs import EXAMPLES, run_python

HAS_SKLEARN = importlib.util.find_spec("sklearn") is not None
HAS_DASK = HAS_SKLEARN and importlib.util.find_spec("distributed") is not None
needs_sklearn = pytest.mark.skipif(not HAS_SKLEARN, reason="pip install -e '.[sklearn]'")
needs_dask = pytest.mark.skipif(not HAS_DASK, reason="pip install -e '.[dask]'")

# What the programs below begin with: eight settings in three folds, a first worker that is killed.
BEGIN = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
import json, os, signal, time
import search

drawn = search.candidates(8, epochs=3, seed=1)
tasks = [search.Task(i, s, fold, 1) for i, s in enumerate(drawn) for fold in range(search.FOLDS)]
killed = []

def kill_the_first(result):
    if not killed:
        killed.append(result.worker[1])
        os.kill(killed[0], signal.SIGKILL)

def told(found):
    accuracies = [r.accuracy for r in found]
    workers = sorted({{r.worker[1] for r in found}})
    others = [w for w in workers if w not in killed]
    print(json.dumps([accuracies, len(killed), len(others), max(r.threads for r in found)]))
"""
LOKY = f"""{BEGIN}
if __name__ == "__main__":
    told(search.search(tasks, 2, kill_the_first))
"""
DASK = f"""{BEGIN}
if __name__ == "__main__":
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from minidl.estimators import Classifier
    with search.backend(search.LOCAL) as name:
        told(search.search(tasks, -1, kill_the_first))
        grid = {{"lr": [1e-5, 0.1]}}
        model = GridSearchCV(Classifier((8,), epochs=60, random_state=0), grid, cv=2)
        print(name.split(":")[0], model.fit(*load_iris(return_X_y=True)).best_params_)
"""
HOPELESS = f"""{BEGIN}
def dies(task):
    os.kill(os.getpid(), signal.SIGKILL)

search.fitted = dies
if __name__ == "__main__":
    search.main(["--jobs", "2", "--candidates", "1"])
"""


@pytest.fixture(scope="module")
def in_sequence():
    """The accuracies that one process finds, one after the other."""
    program = f"{BEGIN}\ntold(search.search(tasks, 1))"
    accuracies, killed, workers, threads = printed(program)
    assert (killed, workers, threads) == (0, 1, 1)
    assert len(set(accuracies)) > 4
    return accuracies


def printed(program):
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_sklearn
def test_the_search_goes_on_when_a_worker_of_loky_is_killed(in_sequence):
    done = run_python("-c", LOKY, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    said, result = done.stdout.splitlines()
    assert said.startswith("a worker died: going on with the ")
    accuracies, killed, others, threads = json.loads(result)
    assert accuracies == in_sequence
    assert (killed, threads) == (1, 1)
    assert others >= 2


@needs_dask
def test_the_search_goes_on_when_a_worker_of_dask_is_killed(in_sequence):
    done = run_python("-c", DASK, OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    result, best = done.stdout.splitlines()
    accuracies, killed, others, threads = json.loads(result)
    assert accuracies == in_sequence
    assert (killed, threads) == (1, 1)
    assert others >= 1
    assert best == "Dask at tcp {'lr': 0.1}"


@needs_sklearn
def test_a_search_whose_workers_always_die_ends_with_the_reason():
    done = run_python("-c", HOPELESS)
    assert done.returncode == 2
    assert "error: workers died 3 times in a row without any result" in done.stderr


@needs_sklearn
def test_the_example_shows_the_best():
    arguments = ["--jobs", 1, "--candidates", 2, "--epochs", 2]
    done = run_python(EXAMPLES / "search.py", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("6 fits in ")
    assert lines[0].endswith(" by loky: 1 process, 1 BLAS thread each")
    assert lines[2].split() == [
        "accuracy", "the", "least", "hidden", "batch_norm", "dropout", "lr", "epochs",
    ]  # fmt: skip
    first, second = (float(line.split()[0]) for line in lines[4:6])
    assert first >= second
    assert lines[-1].startswith("test accuracy of the best: ")


WITHOUT = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
sys.modules["{{missing}}"] = None
import minidl
assert not [name for name in sys.modules if name.startswith("sklearn.")]
{{code}}
"""


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        ("sklearn", "import minidl.estimators",
         "minidl.estimators needs sklearn: install it with `python -m pip install "
         "'minidl[sklearn]'` (in a clone of minidl: `python -m pip install -e '.[sklearn]'`)"),
        ("sklearn", "import search; search.main([])",
         "error: examples/search.py needs sklearn: install it with"),
        ("dask", "import search; search.main(['--dask'])",
         "error: --dask needs dask: install it with `python -m pip install 'minidl[dask]'`"),
    ],
)  # fmt: skip
def test_where_an_extra_is_missing_one_line_says_how_to_get_it(missing, code, message):
    done = run_python("-c", WITHOUT.format(missing=missing, code=code))
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert ("Traceback" in done.stderr) == (code == "import minidl.estimators")
