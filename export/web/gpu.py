"""LiteRT's WebGPU accelerator: a .tflite file in a headless Chromium, on its GPU or on one made of software.

The page is served on loopback and posts its answers back, so no driver of browsers is needed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from attar.errors import GateError, InputError, Unsupported
from attar.export.formats import HALF
from attar.export.tflite import graph
from attar.export.web import assets

NAME = "LiteRT on WebGPU"
"""Name of the evaluator."""

SECONDS_PER_IMAGE = 30
"""Patience: a GPU made of software takes about a second for an image of 224 pixels."""

MOST = 1 << 30
"""Bytes that the page may post."""

PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
# Without a GPU Chromium computes on SwiftShader: slow, and the same shaders.
FLAGS = (
    "--headless=new",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--enable-unsafe-webgpu",
    "--enable-unsafe-swiftshader",
)
_PAGE = Path(__file__).with_name("gpu.html")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


def ready() -> tuple[str, assets.Assets]:
    """The browser's program and its runtimes.

    Raises:
        InputError: one of the two is missing; the text says what to install.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise InputError(f"--gpu needs a Chromium ({', '.join(PROGRAMS)}), and there is none. Install one.")
    return program, assets.find()


class GpuRunner:
    """A .tflite file on WebGPU; see `attar.export.runners.Evaluator`. Half precision is what GPUs compute in.

    Attributes:
        evaluator: what computes it, with its version; the adapter too once it has answered.
        details: {"operators": in the file, "on_gpu": of them on the GPU, "remark": why not all}, once it has answered.
    """

    tolerance = HALF

    def __init__(self, path: Path) -> None:
        self._path = path
        self._program, self._assets = ready()
        self.evaluator = f"LiteRT.js {self._assets.versions['@litertjs/core']} on WebGPU"
        self.details: dict[str, Any] = {}

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 images (N, H, W, 3) -> float32 (N, classes), and a column of familiarity if the file gives it.

        Raises:
            Unsupported: not one operator runs on the GPU.
            GateError: the browser gives no answer, or says what is wrong.
        """
        content = self._path.read_bytes()
        result = self._answer(content, pixels)
        said = "\n".join(map(str, result.get("said", [])))
        if "error" in result:
            raise GateError(f"{result['error']}\n{said[-1500:]}")
        operators = len(graph.read(content).subgraphs[0].operators)
        counted = re.search(r"(\d+) operations will run on the GPU", said)
        on_gpu = operators if result["whole"] else int(counted[1]) if counted and result["on_gpu"] else 0
        if not on_gpu:
            raise Unsupported(f"WebGPU takes none of its {operators} operators: {_reasons(said)}")
        self.details = {"operators": operators, "on_gpu": on_gpu}
        if on_gpu < operators:
            self.details["remark"] = (
                f"WebGPU leaves {operators - on_gpu} of {operators} operators to the CPU: {_reasons(said)}"
            )
        self.evaluator = f"{self.evaluator.partition(',')[0]}, {result['adapter']}, {on_gpu} of {operators} operators"
        return np.asarray(result["answers"], np.float32)

    def _answer(self, content: bytes, pixels: np.ndarray) -> dict[str, Any]:
        """What the page posts, once it has run the file."""
        files = {f"/{name}": path for name, path in self._assets.table().items()} | {"/": _PAGE}
        posted: list[bytes] = []
        done = threading.Event()
        served = {"/model": content, "/images": np.ascontiguousarray(pixels).tobytes()}
        limit = 120 + SECONDS_PER_IMAGE * len(pixels)
        with _serving(files, served, posted, done) as url, _browsing(self._program, url):
            if not done.wait(limit):
                raise GateError(f"no answer after {limit} seconds")
        return dict(json.loads(posted[0]))


def _reasons(said: str) -> str:
    """LiteRT's own words on the operators that it leaves to the CPU."""
    lines = said.splitlines()
    start = next((i for i, line in enumerate(lines) if "not supported by GPU delegate" in line), len(lines))
    listed = [line.removeprefix("ERROR: ") for line in lines[start + 1 :] if re.match(r"(ERROR: )?[A-Z_0-9]+: ", line)]
    return "; ".join(listed) or "it does not say why"


@contextmanager
def _serving(
    files: dict[str, Path], served: dict[str, bytes], posted: list[bytes], done: threading.Event
) -> Iterator[str]:
    """Serve files and bytes on loopback, by their names alone; take one post -> the page's address."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 60

        def do_GET(self) -> None:
            name = self.path.partition("?")[0]
            body = served.get(name) or (files[name].read_bytes() if name in files else None)
            if body is None:
                self.send_error(404)
                return
            suffix = files[name].suffix if name in files else ""
            self.send_response(200)
            self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if self.path != "/answers" or not 0 < size <= MOST:
                self.send_error(400)
                return
            posted.append(self.rfile.read(size))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _browsing(program: str, url: str) -> Iterator[None]:
    """A headless browser on a page, with nothing of the user's, ended with all its processes afterwards."""
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium refuses root otherwise
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, *root, f"--user-data-dir={profile}", url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()  # it takes its own processes with it
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
