"""`machine_state`: clocks, governors, temperatures, power mode, over made-up trees, whole and broken."""

from __future__ import annotations

import json
import time

import pytest

from smartrt.benchmarks.sensors import NOT_MEASURED, machine_state

KEYS = {
    "board", "l4t", "power_mode", "governors", "cpu_mhz", "temperature_c", "gpus", "integrated_gpu_mhz", "memory_mib",
}  # fmt: skip
CPU = "sys/devices/system/cpu"
MEMINFO = "MemTotal:        7802880 kB\nMemFree:          100 kB\nMemAvailable:    4194304 kB"
RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025"


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n", encoding="utf-8")
    return root


def core(number, khz, governor="schedutil"):
    return {f"{CPU}/cpu{number}/cpufreq/scaling_cur_freq": khz, f"{CPU}/cpu{number}/cpufreq/scaling_governor": governor}


def thermal(number, kind, value):
    folder = f"sys/class/thermal/thermal_zone{number}"
    return {f"{folder}/type": kind, f"{folder}/temp": value}


def program(root, name, body):
    path = root / "usr/sbin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def not_measured(value):
    """Every leaf is the string and nothing else."""
    return all(map(not_measured, value.values())) if isinstance(value, dict) else value == NOT_MEASURED


def test_an_empty_machine_has_measured_nothing_and_says_so(tmp_path):
    state = machine_state(tmp_path)
    assert set(state) == KEYS
    assert not_measured(state)


def test_this_machine_answers_quickly_and_in_json():
    machine_state()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        state = machine_state()
        times.append(time.perf_counter() - started)
    assert set(state) == KEYS
    assert "null" not in json.dumps(state)
    assert state["memory_mib"]["total"] > state["memory_mib"]["available"] > 0
    assert min(times) < 5  # nvpmodel of a Jetson included; without one it takes milliseconds


def test_a_jetson_is_described(tmp_path):
    write(tmp_path, core(0, 1_984_000) | core(1, 729_600) | core(2, 1_344_000) | core(10, 729_600, "performance"))
    write(tmp_path, thermal(0, "cpu-thermal", 45_125) | thermal(10, "tj-thermal", 47_000) | {"proc/meminfo": MEMINFO})
    write(tmp_path, {"etc/nv_tegra_release": RELEASE, "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0"})
    write(tmp_path, {"sys/class/devfreq/17000000.gpu/cur_freq": 612_000_000})
    write(tmp_path, {"sys/class/devfreq/15340000.vic/cur_freq": 1})
    program(
        tmp_path, "nvpmodel", '[ "$1" = -q ] && printf "NVPM WARN: fan mode is not set\\nNV Power Mode: 15W\\n0\\n"'
    )
    assert machine_state(tmp_path) == {
        "board": "NVIDIA Jetson Orin Nano",
        "l4t": "36.4.3",
        "power_mode": {"name": "15W", "id": 0},
        "governors": ["performance", "schedutil"],
        "cpu_mhz": {"min": 729.6, "median": 1036.8, "max": 1984.0, "source": "scaling_cur_freq"},
        "temperature_c": {"cpu-thermal": 45.125, "tj-thermal": 47.0},
        "gpus": NOT_MEASURED,
        "integrated_gpu_mhz": {"17000000.gpu": 612.0},
        "memory_mib": {"total": 7620.0, "available": 4096.0},
    }


@pytest.mark.parametrize("name", ["17000000.gpu", "17000000.ga10b", "57000000.gpu", "17000000.gv11b", "gpu-gpc-0"])
def test_the_gpu_of_every_jetson_is_found(tmp_path, name):
    write(tmp_path, {f"sys/class/devfreq/{name}/cur_freq": 0})
    assert machine_state(tmp_path)["integrated_gpu_mhz"] == {name: 0}


def test_without_cpufreq_the_clocks_are_those_of_cpuinfo(tmp_path):
    write(tmp_path, {"proc/cpuinfo": "processor\t: 0\ncpu MHz\t\t: 2596.122\nprocessor\t: 1\ncpu MHz\t\t: 3100.5\n"})
    found = machine_state(tmp_path)["cpu_mhz"]
    assert found == {"min": 2596.122, "median": 2848.311, "max": 3100.5, "source": "/proc/cpuinfo"}


def test_cores_that_are_off_or_do_not_say_are_not_counted(tmp_path):
    write(tmp_path, core(0, 0) | core(1, "<unknown>") | core(2, 1_000_000, "") | {f"{CPU}/cpufreq/policy0/x": 1})
    assert machine_state(tmp_path)["cpu_mhz"]["min"] == 1000


def test_zones_of_one_type_and_zones_that_do_not_answer_stay_apart(tmp_path):
    zones = thermal(0, "acpitz", 20_000) | thermal(1, "acpitz", -5_000) | thermal(2, "cv0-thermal", -256_000)
    write(
        tmp_path, zones | thermal(3, "soc", "off") | thermal(4, "", 30_000) | {"sys/class/thermal/cooling_device0": 1}
    )
    (tmp_path / "sys/class/thermal/thermal_zone5").mkdir()
    assert machine_state(tmp_path)["temperature_c"] == {
        "acpitz": 20.0,
        "acpitz #2": -5.0,
        "cv0-thermal": NOT_MEASURED,
        "soc": NOT_MEASURED,
        "thermal_zone4": 30.0,
        "thermal_zone5": NOT_MEASURED,
    }


MODES = {
    "a name and a number": ("printf 'NV Power Mode: MAXN_SUPER\\n2\\n'", {"name": "MAXN_SUPER", "id": 2}),
    "a name alone": ("printf 'NV Power Mode: MODE 30W\\n'", {"name": "MODE 30W"}),
    "more lines": ("printf 'x: NV Power Mode: 7W\\n3\\nNV Fan Mode:quiet\\n'", {"name": "7W", "id": 3}),
    "no mode": ("echo NVPM ERROR: not root; exit 1", NOT_MEASURED),
    "nothing": ("exit 0", NOT_MEASURED),
    "bytes": ("printf '\\377\\376'", NOT_MEASURED),
}


@pytest.mark.parametrize(("body", "mode"), MODES.values(), ids=MODES)
def test_the_power_mode_is_what_nvpmodel_says(tmp_path, body, mode):
    program(tmp_path, "nvpmodel", body)
    assert machine_state(tmp_path)["power_mode"] == mode


def test_an_nvpmodel_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("smartrt.machine.board._MODE_WAIT_S", 0.1)
    program(tmp_path, "nvpmodel", "exec sleep 30")
    started = time.perf_counter()
    assert machine_state(tmp_path)["power_mode"] == NOT_MEASURED
    assert time.perf_counter() - started < 10


BROKEN = {"garbage": "\x00\x01 ?", "empty": "", "a number": "-7"}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_not_measured_and_never_an_error(tmp_path, content):
    names = ("etc/nv_tegra_release", "proc/meminfo", "proc/cpuinfo", f"{CPU}/cpu0/cpufreq/scaling_cur_freq")
    write(tmp_path, dict.fromkeys(names, content) | {"sys/class/devfreq/gpu-gpc-0/cur_freq": "<error>"})
    (tmp_path / "proc/device-tree/model").mkdir(parents=True)
    (tmp_path / "sys/class/thermal").mkdir(parents=True)
    assert not_measured(machine_state(tmp_path))
