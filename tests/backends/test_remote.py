"""Slides behind a web server: read by ranges, and what goes wrong on the way has a name."""

import functools
import http.server
import os
import re
import threading
from pathlib import Path

import cv2
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from backends.slide_contract import SlideContract
from eosin.backends import AutoBackend
from eosin.backends.source import open_source
from eosin.errors import MissingDependencyError, SlideOpenError, SlideReadError
from made_slides import smooth_tissue, write_slide

IMAGE = smooth_tissue(900, 700)


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files by ranges, or as badly as `manner` says."""

    protocol_version = "HTTP/1.1"
    manner = "well"

    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or self.manner == "whole":
            super().do_GET()
        elif self.manner == "busy":
            self.send_error(503)
        else:
            content = Path(self.translate_path(self.path)).read_bytes()
            part = content[int(asked[1]) : int(asked[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part[:10] if self.manner == "short" else part)
            self.close_connection = self.manner == "short"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_slide(folder / "a b.svs", IMAGE, compression="jpeg")
    cv2.imwrite(str(folder / "a.png"), IMAGE[:, :, ::-1])
    return folder


@pytest.fixture
def server(folder):
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    handler = type("Handler", (RangeHandler,), {})
    served = functools.partial(handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


class TestTiffBehindHttp(SlideContract):
    @pytest.fixture
    def slide(self, server):
        return AutoBackend().open(f"{server[0]}/a b.svs")


def test_pixels_and_fingerprint_are_those_of_the_file(server, folder):
    with AutoBackend().open(f"{server[0]}/a%20b.svs") as far:
        near = AutoBackend().open(folder / "a b.svs")
        assert far.info.fingerprint == near.info.fingerprint
        assert (far.read_region(5, 7, 0, 600, 400) == near.read_region(5, 7, 0, 600, 400)).all()


def test_an_image_behind_a_url_is_read(server):
    with AutoBackend().open(f"{server[0]}/a.png") as slide:
        assert (slide.read_region(100, 50, 0, 300, 200) == IMAGE[50:250, 100:400]).all()


@pytest.mark.parametrize(
    ("manner", "says"),
    [("whole", "has to serve ranges"), ("busy", "Service Unavailable"), ("short", "Payload")],
)
def test_a_server_that_fails_is_a_slide_error(server, manner, says):
    url, handler = server
    slide = AutoBackend().open(f"{url}/a b.svs")
    handler.manner = manner
    with pytest.raises(SlideReadError, match=says):
        slide.read_region(0, 0, 0, 50, 50)
    with pytest.raises(SlideOpenError, match=says):
        AutoBackend().open(f"{url}/a b.svs")
    handler.manner = "well"
    assert slide.read_region(0, 0, 0, 50, 50).shape == (50, 50, 3)


def test_a_file_that_is_not_there_says_so(server):
    with pytest.raises(SlideOpenError, match="No such file"):
        AutoBackend().open(f"{server[0]}/none.svs")


def test_a_server_that_cannot_be_reached_says_so():
    """Row 18 of the faults: such a row fails its slide, and with the right reason."""
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    with pytest.raises(SlideOpenError, match=r"its server cannot be reached: .*127"):
        AutoBackend().open("http://127.0.0.1:9/a.svs")


def test_a_slide_that_was_open_before_a_fork_is_read_in_the_child(server):
    slide = AutoBackend().open(f"{server[0]}/a b.svs")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(slide.read_region(0, 0, 0, 50, 50).shape != (50, 50, 3))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [(lambda: b"not what was asked for", "gave 22 bytes"), (lambda: {}["token"], "KeyError")],
)
def test_any_protocol_that_answers_wrongly_is_a_slide_error(monkeypatch, folder, answer, says):
    content = (folder / "a b.svs").read_bytes()
    fsspec.filesystem("memory").pipe_file("/remote/a.svs", content)
    slide = AutoBackend().open("memory://remote/a.svs")
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_, **__: answer())
    with pytest.raises(SlideReadError, match=says):
        slide.read_region(0, 0, 0, 50, 50)


def test_a_protocol_that_nobody_knows_is_a_slide_error():
    with pytest.raises(SlideOpenError, match="Protocol not known"):
        AutoBackend().open("nowhere://a.svs")


def test_a_protocol_whose_package_is_missing_says_which():
    with pytest.raises(MissingDependencyError, match="needs another package"):
        open_source("adl://store/a.svs")


def test_a_path_with_blanks_and_other_letters_is_read_as_a_url(tmp_path):
    path = write_slide(tmp_path / "Präparat 2 (µ).svs", IMAGE)
    with AutoBackend().open(f"file://{path}") as slide:
        assert slide.info.fingerprint == AutoBackend().open(path).info.fingerprint
