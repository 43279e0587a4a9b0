"""`attar collect` and `attar review` as people meet them: invited, sent, killed, reviewed, exported, trained on."""

from __future__ import annotations

import base64
import http.client
import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from attar.data.photos import DataSpec, read_photos
from attar.deploy.collect.store import opened
from helpers import warm
from helpers.collecting import ENVIRONMENT, attar, known_port, running
from helpers.observed import jpeg, observation_of
from helpers.pictures import SHAPES, draw
from helpers.small import make_student

for package in ("uvicorn", "starlette", "segno"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow


def put(link: str, observation: dict[str, Any], photo: bytes) -> int:
    """Send an observation -> the status; 0 if nobody answered."""
    place = urlsplit(link)
    assert place.hostname
    connection = http.client.HTTPConnection(place.hostname, place.port or 80, timeout=600)
    header = base64.b64encode(json.dumps(observation).encode()).decode()
    try:
        connection.request("PUT", f"{place.path}/observations/{observation['id']}", photo, {"X-Observation": header})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_what_people_send_while_the_server_dies_is_kept_once(tmp_path: Path) -> None:
    """A sender goes on until it is answered; whatever was answered is there, once."""
    folder = tmp_path / "plants"
    port = known_port(folder)
    link = attar("collect", folder, "--invite", "Ana")["link"]
    assert link.startswith(f"http://127.0.0.1:{port}/")
    chance, sent, deaths = random.Random(7), [], 0
    waiting = [(observation_of(jpeg(number), probability=0.25), jpeg(number)) for number in range(40)]
    while waiting:
        with running("collect", folder, "--port", port) as server:
            server.hears("Ctrl-C")
            for _ in range(min(len(waiting), chance.randrange(1, 15))):
                observation, photo = waiting[0]
                status = put(link, observation, photo)
                if status in (200, 201):
                    sent.append(waiting.pop(0)[0]["id"])
            deaths += 1
    assert deaths > 1
    with opened(folder) as store:
        kept = [str(each.observation.id) for each in store.observations()]
        assert sorted(kept) == sorted(sent) and len({*kept}) == 40
        for each in store.observations():
            assert store.photo(each.photo).is_file() and each.observation.contributor == "Ana"


def test_invitations_are_listed_bounded_and_revoked(tmp_path: Path) -> None:
    folder = tmp_path / "plants"
    assert "Where do phones reach the server?" in attar("collect", folder, "--invite", "Ana", code=2)
    with running("collect", folder, "--port", 0) as server:
        server.hears("Ctrl-C")
        link = attar("collect", folder, "--invite", "Ana", "--quota", 1)["link"]
        first, second = observation_of(jpeg(1)), observation_of(jpeg(2))
        assert [put(link, first, jpeg(1)), put(link, second, jpeg(2))] == [201, 403]
        [known] = attar("collect", folder, "--invitations")
        assert (known["contributor"], known["used"], known["quota"], known["revoked"]) == ("Ana", 1, 1, None)
        assert attar("collect", folder, "--revoke", "Ana") == {"revoked": "Ana"}
        assert put(link, first, jpeg(1)) == 404
    other = attar("collect", folder, "--invite", "Ben", "--address", "https://plants.example/in/")["link"]
    assert re.fullmatch(r"https://plants\.example/in/[\w-]{32}", other)
    assert "not a page's address" in attar("collect", folder, "--invite", "Cem", "--app", "plants", code=2)
    opens = attar("collect", folder, "--invite", "Cem", "--app", "https://plants.example/app/")["link"]
    assert re.fullmatch(r"https://plants\.example/app/#invitation=[\w-]{32}", opens)
    assert "Ben has an invitation already" in attar("collect", folder, "--invite", "Ben", code=2)


def test_options_that_do_not_go_together_and_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "plants"
    assert "Give one of --invite and --export" in attar("collect", folder, "--invite", "A", "--export", "x", code=2)
    assert "--label-studio: belongs to --export" in attar("collect", folder, "--label-studio", code=2)
    assert "`attar collect" in attar("collect", folder, "--export", tmp_path / "out", code=2)
    assert not folder.exists() and not (tmp_path / "out").exists()
    done = subprocess.run(warm.attar("review", folder), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 2 and "no observations here" in done.stderr and not folder.exists()


def test_from_invitation_to_new_training_photos(tmp_path: Path, shapes: Path) -> None:
    """What people sent is reviewed with a model's opinion, exported, and read as photos to train on."""
    folder, bundle = tmp_path / "plants", tmp_path / "student"
    make_student("lcnet_035", read_photos(DataSpec(str(shapes))), bundle)
    with running("collect", folder, "--port", 0) as server:
        server.hears("Ctrl-C")
        link = attar("collect", folder, "--invite", "Ana")["link"]
        for number, shape in enumerate([*SHAPES, *SHAPES, *SHAPES]):
            path = tmp_path / "sent.jpg"
            draw(shape, 100 + number).convert("RGB").save(path)
            said = {"predicted": SHAPES[0]} | (
                {"verdict": "corrected", "label": shape} if shape != SHAPES[0] else {"verdict": "confirmed"}
            )
            assert put(link, observation_of(path.read_bytes(), **said), path.read_bytes()) == 201
    with running("review", folder, "--teacher", bundle) as server:
        url = re.search(r"http://\S+/", server.hears("asked about 9 photos"))[0]  # type: ignore[index]
        place = urlsplit(url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=600)
        connection.request("GET", f"{place.path}queue")
        first, *_ = json.loads(connection.getresponse().read())["observations"]
        assert len(first["teacher"]) == 3
        message = {"observation": first["id"], "reviewer": "Ben", "action": "reject", "seen": 0}
        connection.request("POST", f"{place.path}decisions", json.dumps(message))
        assert connection.getresponse().status == 200
        connection.close()
    told = attar("collect", folder, "--export", tmp_path / "out", "--darwin-core", "--label-studio")
    assert (told["observations"], told["labelled"], told["rejected"]) == (8, 8, 1)
    photos = read_photos(DataSpec(str(tmp_path / "out")))
    assert sum(photos.counts().values()) == 8
