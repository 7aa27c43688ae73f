"""tegrastats: its lines, old and new and broken, and the child process that prints them."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartrt.benchmarks.sensors import Energy, Sampling
from smartrt.benchmarks.sensors.base import SensorError
from smartrt.benchmarks.sensors.tegrastats import TegrastatsMeter, parse_line
from support import message_of

ORIN = (
    "11-21-2026 10:00:01 RAM 2044/7620MB (lfb 4x4MB) SWAP 0/3810MB (cached 0MB) CPU [1%@729,0%@729,off,off] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] NVDEC off VIC off cpu@45.1C tj@47C "
    "VDD_IN 4200mW/4100mW VDD_CPU_GPU_CV 560mW/550mW VDD_SOC 1200mW/1190mW"
)
NANO = "RAM 1903/3964MB (lfb 203x4MB) IRAM 0/252kB(lfb 252kB) CPU [2%@102] PLL@36C POM_5V_IN 2345/2300 POM_5V_GPU 40/40"
XAVIER = "RAM 1/2MB GPU 310/311 CPU 1242/1242 SOC 931/931 CV 0/0 VDDRQ 155/155 SYS5V 1680/1680"

LINES = {
    "Orin": (ORIN, {"VDD_IN": 4.2, "VDD_CPU_GPU_CV": 0.56, "VDD_SOC": 1.2}),
    "Nano": (NANO, {"POM_5V_IN": 2.345, "POM_5V_GPU": 0.04}),
    "AGX Xavier": (XAVIER, {"GPU": 0.31, "CPU": 1.242, "SOC": 0.931, "CV": 0, "VDDRQ": 0.155, "SYS5V": 1.68}),
    "a channel that is not connected": ("NC 0mW/0mW VDD_IN 1mW/1mW", {"VDD_IN": 0.001}),
    "a rail below zero": ("VDD_GPU -392mW/-392mW", {"VDD_GPU": -0.392}),
    "memory alone": ("RAM 2044/7620MB (lfb 4x4MB) SWAP 0/3810MB", {}),
    "a line that is cut off": ("VDD_IN 4200mW/41", {"VDD_IN": 4.2}),
    "a pair that is cut off": ("VDD_IN 4200mW/", {}),
    "three values": ("VDD_IN 1mW/2mW/3mW", {}),
    "a number without end": ("VDD_IN 99999999999999/1", {}),
    "nothing": ("", {}),
    "an error": ("tegrastats: cannot open /dev/foo", {}),
}


@pytest.mark.parametrize(("line", "watts"), LINES.values(), ids=LINES)
def test_a_line_gives_the_power_of_its_rails_now(line, watts):
    assert parse_line(line) == pytest.approx(watts)
    assert parse_line(line + "\n") == pytest.approx(watts)


@given(st.text(max_size=200))
def test_any_text_is_parsed_without_an_error(text):
    assert all(isinstance(value, float) for value in parse_line(text).values())


@pytest.fixture
def install(tmp_path):
    """Make a program in the tree of the test; it is told to print a line again and again, or anything else."""

    def write(body):
        path = tmp_path / "usr/bin/tegrastats"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable} -S\nimport sys, time, os\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return tmp_path

    return write


FOREVER = """
assert sys.argv[1:] == ["--interval", "100"], sys.argv
sys.stdout.buffer.write(b"\\xff\\xfe no line of ours\\n" + b"x" * 20000 + b"\\n")
while True:
    print({line!r}, flush=True)
    time.sleep(0.01)
"""


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_the_rails_are_integrated_while_the_program_runs_and_it_ends_with_us(install):
    with Energy.open(install(FOREVER.format(line=ORIN)), Sampling()) as energy:
        (meter,) = energy._meters
        names = tuple(f"{rail} (tegrastats)" for rail in ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"))
        assert energy.domains == names
        assert energy.total == names[:1]
        assert set(energy.absent) == {"RAPL", "NVML", "INA3221"}
        before = energy.joules()
        wait_for(lambda: energy.joules()["VDD_IN (tegrastats)"] > before["VDD_IN (tegrastats)"] + 0.1)
        spent = energy.joules()
        assert spent[names[0]] / spent[names[1]] == pytest.approx(4.2 / 0.56)
    assert meter._process.returncode is not None
    assert not meter._thread.is_alive()
    assert energy.joules()[names[0]] >= spent[names[0]]
    energy.close()


def test_a_program_that_ends_in_the_middle_loses_its_rails_and_not_the_run(install):
    energy = Energy.open(install(f"print({ORIN!r}, flush=True); time.sleep(0.3); sys.exit(3)"), Sampling())
    assert len(energy.joules()) == 3
    wait_for(lambda: not energy.domains)
    assert energy.joules() == {}
    assert energy.total == ()
    message_of(Exception(energy.absent["VDD_IN (tegrastats)"]), "tegrastats ended with exit code 3")
    energy.close()


def test_a_rail_that_is_no_longer_printed_is_lost(install):
    now = [0.0]
    script = f"print({ORIN!r}, flush=True); time.sleep(60)"
    meter = TegrastatsMeter.open(install(script), Sampling(clock=lambda: now[0]))
    assert len(meter.joules()) == 3
    now[0] = 5.0
    assert meter.joules() == {}
    assert meter.lost["VDD_SOC (tegrastats)"] == "tegrastats has not printed it for 5.0 s"
    meter.close()


SILENT = {
    "it prints no rail": ("print('RAM 1/2MB', flush=True); time.sleep(60)", "no power of a rail in 0.4 s"),
    "it prints nothing": ("time.sleep(60)", "no power of a rail in 0.4 s"),
    "it ends": ("sys.exit(1)", "before it ended with exit code 1"),
    "it does not want to end": ("import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)", "in 0.4 s"),
}


@pytest.mark.parametrize(("body", "mention"), SILENT.values(), ids=SILENT)
def test_a_program_without_power_is_absent_with_one_line_and_ended(install, monkeypatch, body, mention):
    started = []
    monkeypatch.setattr(TegrastatsMeter, "__init__", _remember(TegrastatsMeter.__init__, started))
    begun = time.monotonic()
    with pytest.raises(SensorError) as caught:
        TegrastatsMeter.open(install(body), Sampling(), first_line_s=0.4)
    assert time.monotonic() - begun < 20
    message_of(caught.value, mention, "it may need root")
    assert started[0].returncode is not None


def _remember(init, started):
    def remembering(self, process, clock):
        started.append(process)
        init(self, process, clock)

    return remembering


def test_a_program_that_does_not_start_is_absent_with_one_line(tmp_path, install):
    install("")
    (tmp_path / "usr/bin/tegrastats").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(SensorError) as caught:
        TegrastatsMeter.open(tmp_path, Sampling())
    message_of(caught.value, "does not start")
