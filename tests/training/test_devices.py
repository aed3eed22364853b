import threading
from types import SimpleNamespace

import pytest
import torch

from mola.training import devices
from mola.types import BadInput


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """The bookkeeping of a machine with GPUs of which a process sees two; no CUDA is touched."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="ab"[index]))
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "POLL", 0.01)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_processor_has_its_name_and_else_its_architecture(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices.platform, "processor", lambda: "")
    monkeypatch.setattr(devices.platform, "machine", lambda: "riscv64")
    assert devices.processor() == "riscv64"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: another\n")
    assert devices.processor() == "Some CPU @ 2 GHz"


def test_each_run_gets_a_gpu_of_its_own_and_the_third_waits(two_gpus):
    got = []

    def third():
        with devices.claim("auto") as device:
            got.append(device)

    with devices.claim("cuda") as one:
        with devices.claim("cuda") as two:
            assert {one.index, two.index} == {0, 1}
            waiting = threading.Thread(target=third)
            waiting.start()
            waiting.join(0.1)
            assert waiting.is_alive() and not got
        waiting.join(5)
    assert got == [two]


def test_a_gpu_has_one_lock_however_processes_number_it(two_gpus, monkeypatch, tmp_path):
    with devices.claim("cuda") as first:
        assert [path.name for path in tmp_path.glob("*.lock")] == ["mola-gpu-a.lock"]
        # another process, which sees them the other way round
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="ba"[index]))
        with devices.claim("cuda") as second:
            assert first.index == second.index == 0
            assert {path.name for path in tmp_path.glob("*.lock")} == {"mola-gpu-a.lock", "mola-gpu-b.lock"}


def test_instances_of_a_divided_gpu_are_locked_one_by_one(two_gpus, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="a"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-x/1/0")
    with devices.claim("cuda"):
        assert [path.name for path in tmp_path.glob("*.lock")] == ["mola-gpu-MIG-x_1_0.lock"]


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with devices.claim("auto") as device:
        assert device.type == "cpu"
    with pytest.raises(BadInput, match="device: expected a CUDA GPU, found none"), devices.claim("cuda"):
        pass


@pytest.mark.parametrize(("granted", "expected"), [("3", 3), (None, 4), ("4,2", 4)])
def test_a_gpus_images_are_augmented_by_its_share_of_the_cores(two_gpus, monkeypatch, granted, expected):
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if granted:
        monkeypatch.setenv("OMP_NUM_THREADS", granted)
    assert devices.loader_threads(torch.device("cuda", 0)) == expected
    assert devices.loader_threads(torch.device("cpu")) == 1
