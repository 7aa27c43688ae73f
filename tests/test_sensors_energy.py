"""`Energy` over made-up trees of the kernel: its domains, what they add up to, what happens when they go."""

from __future__ import annotations

import time

import pytest

from smartrt.benchmarks.sensors import Energy, Sampling, joules_between
from smartrt.benchmarks.sensors.rails import total_rails
from support import message_of

POWERCAP = "sys/class/powercap"
DRIVERS = "sys/bus/i2c/drivers"
KINDS = {"RAPL", "NVML", "INA3221", "tegrastats"}
RANGE = 262_143_328_850


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(tmp_path, clock):
    """Open the sensors of `tmp_path`, without a thread."""
    energies = []

    def open_energy():
        energies.append(Energy.open(tmp_path, Sampling(interval=0, clock=clock)))
        return energies[-1]

    yield open_energy
    for energy in energies:
        energy.close()


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n", encoding="utf-8")


def zone(number, name, energy=0, wraps_at=RANGE):
    folder = f"{POWERCAP}/intel-rapl:{number}"
    return {f"{folder}/name": name, f"{folder}/energy_uj": energy, f"{folder}/max_energy_range_uj": wraps_at}


def hwmon(chip, **rails):
    """Channels of an INA3221 from ``label=(mV, mA)``."""
    folder, files = f"{DRIVERS}/ina3221/{chip}/hwmon/hwmon3", {}
    for number, (label, (volts, amperes)) in enumerate(rails.items(), 1):
        files |= {f"{folder}/in{number}_label": label, f"{folder}/in{number}_input": volts}
        files |= {f"{folder}/curr{number}_input": amperes}
    return files


def iio(chip, **rails):
    folder, files = f"{DRIVERS}/ina3221x/{chip}/iio:device0", {}
    for number, (label, power) in enumerate(rails.items()):
        files |= {f"{folder}/rail_name_{number}": label, f"{folder}/in_power{number}_input": power}
    return files


ORIN_NANO = hwmon("1-0040", VDD_IN=(5000, 1000), VDD_CPU_GPU_CV=(5000, 300), VDD_SOC=(5000, 200))
AGX_ORIN = {
    **hwmon("1-0040", VDD_GPU_SOC=(19000, 200), VDD_CPU_CV=(19000, 100), VIN_SYS_5V0=(5000, 900)),
    **hwmon("1-0041", NC=(0, 0), VDDQ_VDD2_1V8AO=(5000, 80)),
}
NANO = iio("6-0040", POM_5V_IN=2345, POM_5V_GPU=40, POM_5V_CPU=400)
VOLTS = f"{DRIVERS}/ina3221/1-0040/hwmon/hwmon3/in1_input"


def test_a_machine_without_sensors_says_why_for_each_kind(opened, tmp_path):
    energy = opened()
    assert (energy.domains, energy.total, energy.notes, energy.joules()) == ((), (), (), {})
    assert set(energy.absent) == KINDS
    assert str(tmp_path / POWERCAP) in energy.absent["RAPL"]
    assert energy.absent["tegrastats"] == "the program is not installed"


def test_this_machine_can_be_opened_whatever_it_has():
    with Energy.open() as energy:
        before = energy.joules()
        after = energy.joules()
        assert set(before) == set(energy.domains)
        assert all(joules >= 0 for joules in joules_between(before, after).values())
        assert all(len(reason.splitlines()) == 1 for reason in energy.absent.values())


def test_rapl_reads_packages_and_their_memory_and_nothing_twice(opened, tmp_path):
    zones = zone("0", "package-0") | zone("0:0", "core") | zone("0:1", "dram") | zone("0:2", "uncore")
    zones |= zone("1", "package-1-die-0") | zone("2", "psys") | zone("2:0", "dram")
    write(tmp_path, zones | {f"{POWERCAP}/intel-rapl/enabled": 1, f"{POWERCAP}/intel-rapl-mmio:0/name": "package-0"})
    energy = opened()
    domains = ("CPU package 0 (RAPL)", "CPU package 1 die 0 (RAPL)", "DRAM of CPU package 0 (RAPL)")
    assert energy.domains == energy.total == domains
    assert set(energy.absent) == KINDS - {"RAPL"}


def test_rapl_counts_from_open_in_joules_and_over_a_wrap(opened, tmp_path, clock):
    write(tmp_path, zone("0", "package-0", RANGE - 2_000_000))
    energy, spent = opened(), []
    for reading in (RANGE - 500_000, 1_000_000, 4_000_000):
        clock.now += 1
        write(tmp_path, {f"{POWERCAP}/intel-rapl:0/energy_uj": reading})
        spent.append(energy.joules()["CPU package 0 (RAPL)"])
    assert spent == pytest.approx([1.5, 3, 6])


def test_a_counter_that_wraps_twice_between_two_questions_is_watched(tmp_path, monkeypatch):
    monkeypatch.setattr("smartrt.benchmarks.sensors.rapl._WRAP_WATCH", 0.001)
    write(tmp_path, zone("0", "package-0", 0, 50_000_000))
    with Energy.open(tmp_path) as energy:
        (gauge,) = energy._meters[0]._gauges.values()
        for reading, spent in ((40_000_000, 40), (10_000_000, 60), (45_000_000, 95), (5_000_000, 105)):
            replace(tmp_path / POWERCAP / "intel-rapl:0/energy_uj", str(reading))
            deadline = time.monotonic() + 5
            while gauge.joules < spent - 0.1 and time.monotonic() < deadline:
                time.sleep(0.002)
        assert energy.joules() == pytest.approx({"CPU package 0 (RAPL)": 105})


def replace(path, content):
    """In one step: the thread must not see an empty file."""
    path.with_name("new").write_text(content, encoding="utf-8")
    path.with_name("new").replace(path)


def break_file(path):
    """A directory in its place: what no user can read, root included."""
    path.unlink()
    path.mkdir()


BROKEN = {
    "unreadable": lambda path: break_file(path),
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "garbage": lambda path: path.write_text("#!\n"),
    "negative": lambda path: path.write_text("-5"),
    "past its range": lambda path: path.write_text(str(RANGE + 1)),
}


@pytest.mark.parametrize("ruin", BROKEN.values(), ids=BROKEN)
def test_a_counter_that_cannot_be_read_is_absent_with_one_line(opened, tmp_path, ruin):
    write(tmp_path, zone("0", "package-0", 1))
    ruin(tmp_path / POWERCAP / "intel-rapl:0/energy_uj")
    energy = opened()
    assert energy.domains == ()
    message_of(Exception(energy.absent["RAPL"]))


@pytest.mark.parametrize("ruin", BROKEN.values(), ids=BROKEN)
def test_a_counter_that_fails_later_is_lost_and_the_run_is_not(opened, tmp_path, ruin):
    write(tmp_path, zone("0", "package-0", 1) | zone("1", "package-1", 1))
    energy = opened()
    before = energy.joules()
    ruin(tmp_path / POWERCAP / "intel-rapl:0/energy_uj")
    write(tmp_path, {f"{POWERCAP}/intel-rapl:1/energy_uj": 3_000_001})
    assert joules_between(before, energy.joules()) == {"CPU package 1 (RAPL)": 3}
    assert energy.domains == ("CPU package 1 (RAPL)",)
    assert energy.total == ()  # half of a machine is no total
    message_of(Exception(energy.absent["CPU package 0 (RAPL)"]))
    assert energy.notes == ("RAPL has no total: CPU package 0 (RAPL) cannot be read",)


@pytest.mark.parametrize("wraps_at", ["0", "", "many"], ids=["zero", "empty", "garbage"])
def test_a_counter_whose_range_is_not_known_is_lost_when_it_goes_backwards(opened, tmp_path, wraps_at):
    write(tmp_path, zone("0", "package-0", 9_000_000, wraps_at))
    energy = opened()
    assert energy.joules() == {"CPU package 0 (RAPL)": 0}
    write(tmp_path, {f"{POWERCAP}/intel-rapl:0/energy_uj": 5_000_000})
    assert energy.joules() == {}
    assert "from 9000000 to 5000000" in energy.absent["CPU package 0 (RAPL)"]


def test_zones_that_hide_their_names_or_have_strange_ones_are_not_guessed(opened, tmp_path):
    write(tmp_path, zone("0", "psys") | zone("1", ""))
    assert "no zone named package-N" in opened().absent["RAPL"]


def test_the_rails_of_an_orin_nano_are_integrated_and_only_the_input_is_the_total(opened, tmp_path, clock):
    write(tmp_path, ORIN_NANO)
    energy = opened()
    assert energy.domains == ("VDD_IN (INA3221)", "VDD_CPU_GPU_CV (INA3221)", "VDD_SOC (INA3221)")
    assert energy.total == ("VDD_IN (INA3221)",)
    assert "INA3221" in energy.absent["tegrastats"]
    clock.now = 2
    assert energy.joules() == pytest.approx(dict(zip(energy.domains, (10, 3, 2), strict=True)))
    write(tmp_path, {VOLTS: 7000})
    clock.now = 4
    assert energy.joules()["VDD_IN (INA3221)"] == pytest.approx(10 + 2 * 6)


def test_a_rail_that_feeds_another_is_not_added_to_it(opened, tmp_path):
    write(tmp_path, AGX_ORIN)
    energy = opened()
    assert set(energy.domains) - set(energy.total) == {"VDDQ_VDD2_1V8AO (INA3221)"}
    assert energy.notes == ()


def test_the_older_driver_and_the_input_of_a_thor_are_read(opened, tmp_path, clock):
    write(tmp_path, NANO | {f"{DRIVERS}/ina238/2-0044/hwmon/hwmon5/power1_input": 23_000_000})
    energy = opened()
    assert energy.total == ("VIN (INA238)",)
    clock.now = 1
    assert energy.joules()["POM_5V_IN (INA3221)"] == pytest.approx(2.345)
    assert energy.joules()["VIN (INA238)"] == pytest.approx(23)


def test_an_unknown_board_has_rails_and_no_total(opened, tmp_path):
    write(tmp_path, hwmon("1-0040", VDD_A=(5000, 1), VDD_B=(5000, 2)))
    energy = opened()
    assert len(energy.domains) == 2
    assert energy.total == ()
    assert "nothing is added up" in energy.notes[0]


TOTALS = {
    "Orin NX": (["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"], ("VDD_IN",)),
    "Nano": (["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"], ("POM_5V_IN",)),
    "TX2": (["VDD_MUX", "VDD_SYS_GPU", "VDD_IN"], ("VDD_IN",)),
    "AGX Xavier": (["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"], ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),
    "AGX Xavier of which a rail is missing": (["GPU", "CPU", "SOC", "CV", "SYS5V"], ()),
    "Thor without its input": (["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"], ()),
    "nothing": ([], ()),
}


@pytest.mark.parametrize(("rails", "total"), TOTALS.values(), ids=TOTALS)
def test_the_total_of_a_board_is_what_enters_it(rails, total):
    assert total_rails(rails) == total


def test_two_rails_of_one_name_are_both_reported(opened, tmp_path):
    write(tmp_path, hwmon("1-0040", VDD_A=(1, 1)) | hwmon("1-0041", VDD_A=(1, 1)))
    assert opened().domains == ("VDD_A (INA3221)", "VDD_A (INA3221) #2")


def test_a_rail_that_vanishes_is_lost_after_some_tries_and_the_total_with_it(opened, tmp_path):
    write(tmp_path, ORIN_NANO)
    energy = opened()
    break_file(tmp_path / VOLTS)
    tries = [len(energy.joules()) for _ in range(6)]
    assert tries == [3, 3, 3, 3, 2, 2]
    assert energy.total == ()
    assert "in1_input cannot be read" in energy.absent["VDD_IN (INA3221)"]


def test_a_rail_that_reads_below_zero_counts_as_off(opened, tmp_path, clock):
    write(tmp_path, hwmon("1-0040", VDD_IN=(19000, -20)))
    energy = opened()
    clock.now = 5
    assert energy.joules() == {"VDD_IN (INA3221)": 0}


@pytest.mark.parametrize("label", ["NC", "", "nc"])
def test_a_channel_that_is_not_connected_is_no_rail(opened, tmp_path, label):
    write(tmp_path, hwmon("1-0040", **{label: (5000, 1)}))
    assert "no ina3221 with a named rail" in opened().absent["INA3221"]


def test_with_rails_nothing_of_another_kind_is_added_to_them(opened, tmp_path):
    write(tmp_path, ORIN_NANO | zone("0", "package-0"))
    energy = opened()
    assert energy.total == ("VDD_IN (INA3221)",)
    assert "CPU package 0 (RAPL)" in energy.domains
    assert any("CPU package 0 (RAPL)" in note for note in energy.notes)


def test_the_rails_are_sampled_by_a_thread_until_the_end(tmp_path):
    write(tmp_path, ORIN_NANO)
    with Energy.open(tmp_path, Sampling(interval=0.001)) as energy:
        first = energy.joules()
        second = energy.joules()
        assert all(second[name] > first[name] >= 0 for name in energy.domains)
    after = energy.joules()
    assert after == energy.joules()
    assert all(after[name] >= second[name] for name in second)
