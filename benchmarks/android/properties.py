"""What a phone tells of itself: what it is, how its cores differ, and how hot and full it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attar.benchmarks.android.adb import Phone

_CPUS = "/sys/devices/system/cpu"
_NO_THROTTLING = 0


@dataclass(frozen=True)
class Core:
    """One core: its greatest frequency, the limit on it at the moment, and what governs it; kHz, None where unknown."""

    number: int
    fastest: int | None
    limit: int | None
    governor: str | None


def describe(phone: Phone, cores: Sequence[Core]) -> dict[str, Any]:
    """Model, SoC, Android version, ABIs and cores; the serial number only as a hash; None where unknown."""
    properties = parse_properties(phone.check("getprop"))
    soc = " ".join(filter(None, (properties.get("ro.soc.manufacturer"), properties.get("ro.soc.model"))))
    soc = soc or properties.get("ro.board.platform") or properties.get("ro.hardware") or ""
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi") or ""
    release, api = properties.get("ro.build.version.release"), properties.get("ro.build.version.sdk")
    return {
        "kind": "android",
        "model": " ".join(filter(None, (properties.get("ro.product.manufacturer"), properties.get("ro.product.model"))))
        or None,
        "soc": soc or None,
        "cpu": ", ".join(filter(None, (soc, clusters(cores)))) or None,
        "os": f"Android {release} (API {api})" if release else None,
        "build": properties.get("ro.build.fingerprint"),
        "abi": [abi for abi in abis.split(",") if abi],
        "cores": len(cores) or None,
        "governor": cores[0].governor if cores else None,
        "serial": hashlib.sha256(phone.serial.encode()).hexdigest()[:12],
    }


def parse_properties(text: str) -> dict[str, str]:
    """The output of `getprop`: lines of `[name]: [value]`."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[([^\n]*)\]\r?$", text, re.MULTILINE))


def read_cores(phone: Phone) -> list[Core]:
    """The phone's cores, by number; none where it does not tell."""
    script = (
        f"for at in {_CPUS}/cpu[0-9]*; do echo core ${{at##*/cpu}} $(cat $at/cpufreq/cpuinfo_max_freq || echo -) "
        "$(cat $at/cpufreq/scaling_max_freq || echo -) $(cat $at/cpufreq/scaling_governor || echo -); done"
    )
    return parse_cores(phone.run(script).output)


def parse_cores(text: str) -> list[Core]:
    """Lines of `core NUMBER FASTEST LIMIT GOVERNOR`; `-` is unknown."""
    rows = re.findall(r"^core (\d+) (\d+|-) (\d+|-) (\S+)$", text, re.MULTILINE)
    cores = [
        Core(int(number), _known(fastest), _known(limit), None if governor == "-" else governor)
        for number, fastest, limit, governor in rows
    ]
    return sorted(cores, key=lambda core: core.number)


def clusters(cores: Sequence[Core]) -> str:
    """Such as `1 × 2.91 GHz, 4 × 2.37 GHz`, fastest first; empty where the frequencies are unknown."""
    speeds = sorted({core.fastest for core in cores if core.fastest}, reverse=True)
    counts = [(sum(core.fastest == speed for core in cores), speed) for speed in speeds]
    return ", ".join(f"{count} × {speed / 1e6:.2f} GHz" for count, speed in counts)


def fast_cores(cores: Sequence[Core], threads: int) -> list[Core]:
    """Whole clusters, fastest first, until every thread has a core; none where all cores are alike or unknown."""
    speeds = sorted({core.fastest for core in cores if core.fastest}, reverse=True)
    if len(speeds) < 2:
        return []
    chosen: list[Core] = []
    for speed in speeds:
        if len(chosen) < threads:
            chosen += [core for core in cores if core.fastest == speed]
    return sorted(chosen, key=lambda core: core.number)


def pin_to(phone: Phone, cores: Sequence[Core]) -> str | None:
    """The mask for `taskset` that keeps a program on these cores; None where there are none or it is not allowed."""
    if not cores:
        return None
    mask = f"{sum(1 << core.number for core in cores):x}"
    return mask if phone.run(f"taskset {mask} true").code == 0 else None


def conditions(phone: Phone) -> dict[str, Any]:
    """Battery, temperatures, throttling and frequency limits now, as far as the phone tells."""
    state: dict[str, Any] = {}
    for command, parse in (("dumpsys battery", parse_battery), ("dumpsys thermalservice", parse_thermal)):
        done = phone.run(command)
        state |= parse(done.output) if done.code == 0 else {}
    limits = [core.limit for core in read_cores(phone) if core.limit]
    return state | ({"frequency_limits_khz": limits} if limits else {})


def parse_battery(text: str) -> dict[str, Any]:
    """The output of `dumpsys battery`: charge as a share, degrees Celsius, and whether it charges."""
    fields = dict(re.findall(r"^ *([\w ]+): (\S+)\r?$", text, re.MULTILINE))
    if fields.get("present") == "false":
        return {}
    battery: dict[str, Any] = {}
    level, scale, tenths = (_integer(fields.get(name)) for name in ("level", "scale", "temperature"))
    if level is not None:
        battery["battery"] = level / (scale or 100)
    if tenths is not None:
        battery["battery_celsius"] = tenths / 10
    powered = [value == "true" for name, value in fields.items() if name.endswith(" powered")]
    return battery | ({"charging": any(powered)} if powered else {})


def parse_thermal(text: str) -> dict[str, Any]:
    """The output of `dumpsys thermalservice` (Android 10 on): throttling status, hottest CPU and skin sensor."""
    thermal: dict[str, Any] = {}
    if status := re.search(r"Thermal Status: (\d+)", text):
        thermal["thermal_status"] = int(status[1])
    _, _, current = text.partition("Current temperatures from HAL:")
    current = re.split(r"\n\S", current or text.partition("Cached temperatures:")[2])[0]
    for kind, name in ((0, "cpu_celsius"), (3, "skin_celsius")):
        values = re.findall(rf"Temperature\{{mValue=(-?[\d.]+), mType={kind},", current)
        if values:
            thermal[name] = max(map(float, values))
    return thermal


def pairs(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """Each condition that was told both times, as [before, after]."""
    return {name: [before[name], after[name]] for name in before if name in after}


def throttled(state: dict[str, list[Any]]) -> str | None:
    """What in the conditions says that the phone slowed itself down; None where nothing does."""
    status = state.get("thermal_status", [_NO_THROTTLING])
    if max(status) > _NO_THROTTLING:
        return f"its thermal status went from {status[0]} to {status[-1]} (0 is none)"
    before, after = state.get("frequency_limits_khz", [[], []])
    if len(before) == len(after) and any(now < then for then, now in zip(before, after)):
        return "it lowered the frequency of its cores"
    return None


def _known(text: str) -> int | None:
    return None if text == "-" else int(text)


def _integer(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None
