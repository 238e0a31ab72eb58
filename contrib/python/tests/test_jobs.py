# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tessera


def test_inspect_and_verify_give_what_the_program_prints(model, compressed):
    result = tessera.inspect(model)
    assert result["totals"]["tensors"] == len(result["tensors"]) and not result["compressed"]
    verdict = tessera.verify(compressed)
    assert verdict["ok"] and verdict["damage"] == []


def test_damage_is_an_exception_with_a_list(compressed, tmp_path):
    shutil.copytree(compressed, tmp_path / "bad")
    path = tmp_path / "bad/model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(tessera.CorruptError) as caught:
        tessera.verify(tmp_path / "bad")
    (damage,) = caught.value.result["damage"]
    assert damage["tensor"] and damage["tensor"] in str(caught.value)
    with tessera.safe_open(tmp_path / "bad") as checkpoint:
        with pytest.raises(tessera.CorruptError, match=damage["tensor"]):
            checkpoint.get_tensor(damage["tensor"])


def test_errors_have_types(compressed, model, tmp_path):
    with pytest.raises(tessera.InputError, match="nowhere") as caught:
        tessera.load_file(tmp_path / "nowhere")
    assert caught.value.status == -3 and isinstance(caught.value, tessera.TesseraError)
    with pytest.raises(tessera.InputError):
        tessera.verify(model)
    with pytest.raises(tessera.ConfigError, match="exists"):
        tessera.compress(model, compressed)
    with pytest.raises(tessera.ConfigError):
        tessera.compress(model, tmp_path / "out", "no-such-profile")
    with tessera.safe_open(compressed) as checkpoint, pytest.raises(KeyError, match="no tensor"):
        checkpoint.get_tensor("nothing")
    with pytest.raises(tessera.ArgumentError, match="framework"):
        tessera.safe_open(compressed, framework="jax")
    with pytest.raises(tessera.UnsupportedError, match="datetime"):
        tessera.save({"when": np.zeros(2, dtype="datetime64[s]")}, tmp_path / "when")
    with pytest.raises(tessera.ConfigError):
        tessera.decompress(compressed, model)


def test_progress_is_told_and_can_stop(compressed):
    told = []
    library = tessera.Library(workers=2, progress=told.append)
    tessera.verify(compressed, library=library)
    assert told[-1].done_bytes == told[-1].total_bytes > 0 and told[-1].stage == "verify"

    def refuse(progress):
        raise LookupError("enough")

    library = tessera.Library(workers=2, progress=refuse)
    with pytest.raises(LookupError, match="enough"):
        tessera.load_file(compressed, library=library)
    with pytest.raises(LookupError, match="enough"):  # each call is asked anew
        tessera.load_file(compressed, library=library)


def test_log_lines_are_told(tmp_path, compressed):
    lines = []
    library = tessera.Library(log=lambda level, text: lines.append((level, text)))
    tessera.save({"odd.name": np.ones((4, 4), dtype=np.float32)}, tmp_path / "out", "balanced", library=library)
    assert any(level == 1 and "odd.name" in text for level, text in lines), lines


def test_cancel_stays_until_resume(compressed):
    library = tessera.Library(workers=1)
    library.cancel()
    with pytest.raises(tessera.CancelledError):
        tessera.verify(compressed, library=library)
    library.resume()
    assert tessera.verify(compressed, library=library)["ok"]


def test_control_c_stops_a_call(compressed, monkeypatch, interruptible):
    told, cancelled = [], threading.Event()

    def press(progress):
        told.append(progress)
        if len(told) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            assert cancelled.wait(60)

    library = tessera.Library(workers=1, progress=press)
    monkeypatch.setattr(library, "cancel", lambda: (tessera.Library.cancel(library), cancelled.set()))
    with pytest.raises(KeyboardInterrupt):
        tessera.load_file(compressed, library=library)
    assert told[-1].done_items < told[-1].total_items
    assert signal.getsignal(signal.SIGINT) is interruptible
    assert len(tessera.load_file(compressed, library=library)) > 0


def test_another_handler_that_raises_ends_the_call_first(compressed):
    def ring(number, frame):
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGALRM, ring)
    library = tessera.Library(workers=1, progress=lambda progress: time.sleep(0.02))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError, match="too long"):
            tessera.load_file(compressed, library=library)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert tessera.verify(compressed, library=library)["ok"]


def test_two_libraries_work_at_once(compressed):
    results = []

    def work():
        library = tessera.Library(workers=2)
        for _ in range(5):
            results.append(sum(float(array.sum()) for array in tessera.load_file(compressed, library=library).values()))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 10 and len(set(results)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_process_has_a_library_of_its_own(compressed):
    script = """
import os, sys, tessera
tessera.load_file(sys.argv[1])
child = os.fork()
if child == 0:
    os._exit(0 if len(tessera.load_file(sys.argv[1])) > 10 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script, str(compressed)], timeout=120).returncode == 0


GATED = """
tessera: 1
roles: auto
rules:
  - {regime: argmax, codec: scalar, params: {bits: 6}, optional: true}
  - {codec: passthrough}
gates:
  width: {min_cos: %s}
"""


def test_gates_run_and_can_refuse(model, tmp_path):
    """They run in a process of their own: the program that the package carries."""
    if os.environ.get("TESSERA_LIBRARY"):
        pytest.skip("TESSERA_LIBRARY names a library outside of the package")
    config = tmp_path / "gated.yaml"
    config.write_text(GATED % "0.9")
    receipt = tessera.compress(model, tmp_path / "good", config)
    assert [gate["verdict"] for gate in receipt["gates"]["results"]] == ["PASS"]
    config.write_text(GATED % "0.9999999")
    with pytest.raises(tessera.GateError) as caught:
        tessera.compress(model, tmp_path / "bad", config)
    assert [gate["verdict"] for gate in caught.value.result["gates"]] == ["FAIL"]
    assert not (tmp_path / "bad").exists()


BUDGET = """tessera: 1
roles: auto
rules:
  - {regime: argmax, dtype: [BF16, F16, F32], codec: scalar, params: {bits: auto}}
  - {regime: index, dtype: [BF16, F16, F32], codec: scalar, params: {bits: auto}, row_error_max: 0}
  - {codec: passthrough}
budget: {bits_per_weight: 5, positions: 512}
"""


def test_a_budget_is_settled_by_what_is_asked(model, tmp_path):
    config, text = tmp_path / "budget.yaml", model.parent / "text/stories.txt"
    config.write_text(BUDGET)
    plain = tessera.compress(model, tmp_path / "plain", config)
    assert plain["budget"]["asked"] == "bits_per_weight" and plain["budget"]["probes"] == []
    aimed = tessera.compress(model, tmp_path / "aimed", config, probe_text=text, target_kld=0.05)
    assert aimed["budget"]["asked"] == "kld" and aimed["budget"]["value"] == 0.05
    assert aimed["budget"]["probes"] and min(probe["kld_bound"] for probe in aimed["budget"]["probes"]) <= 0.05
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(tessera.ArgumentError, match="target_kld"):
            tessera.compress(model, tmp_path / "wrong", config, target_kld=wrong)


def test_the_package_is_complete():
    folder = Path(tessera.__file__).parent
    assert (folder / "py.typed").exists()
    if os.environ.get("TESSERA_LIBRARY"):
        pytest.skip("TESSERA_LIBRARY names a library outside of the package")
    assert os.access(folder / "_native/bin/tessera", os.X_OK)
    for program in ([folder / "_native/bin/tessera"], [sys.executable, "-m", "tessera"], [Path(sys.executable).parent / "tessera"]):
        said = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True).stdout
        assert said == f"tessera {tessera.__version__}\n"
