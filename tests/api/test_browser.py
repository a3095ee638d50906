"""What a real browser makes of the service's answers: Chromium, where the machine has it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CONTENT = bytes(range(256)) * 4_000
PART = 300_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

# A page of our own that may read other origins, as the pages of a team's own tools would through
# the same host. It puts what it found into its body, which Chromium prints.
PAGE = """<!doctype html><body><script>
const headers = {Authorization: "Bearer %(key)s"};
const hex = bytes => [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
async function look() {
  const whole = await fetch("%(url)s", {headers});
  const etag = whole.headers.get("etag"), size = (await whole.arrayBuffer()).byteLength;
  const parts = [], told = [];
  for (let at = 0; at < size; at += %(part)d) {
    const range = {Range: `bytes=${at}-${at + %(part)d - 1}`, "If-Range": etag};
    const part = await fetch("%(url)s", {headers: {...headers, ...range}});
    told.push([part.status, part.headers.get("content-range")]);
    parts.push(await part.blob());
  }
  const bytes = await new Blob(parts).arrayBuffer();
  const sha256 = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
  const beyond = await fetch("%(url)s", {headers: {...headers, Range: `bytes=${size}-`}});
  return {whole: whole.status, told, sha256, beyond: beyond.status};
}
look().catch(error => ({error: String(error)})).then(found => {
  document.body.textContent = JSON.stringify(found);
  document.title = "done";
});
</script></body>"""


def body_of(address, tmp_path):
    """The body of a page once its scripts have run."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-gpu",
        "--disable-web-security",
        "--no-proxy-server",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--timeout=30000",
        "--virtual-time-budget=20000",
        "--dump-dom",
        address,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.partition("<body>")[2].partition("</body>")[0]


def test_a_browser_fetches_a_file_in_ranges(world, url, tmp_path):
    job = world.succeeded({"detector.safetensors": CONTENT})
    path = f"{url}/v1/jobs/{job}/artifacts/detector.safetensors"

    page = tmp_path / "page.html"
    page.write_text(PAGE % {"url": path, "key": world.secret, "part": PART})

    found = json.loads(body_of(page.as_uri(), tmp_path))

    size = len(CONTENT)
    ranges = [(at, min(at + PART, size) - 1) for at in range(0, size, PART)]
    assert found == {
        "whole": 200,
        "told": [[206, f"bytes {first}-{last}/{size}"] for first, last in ranges],
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "beyond": 416,
    }


def test_the_documentation_is_drawn_without_any_other_host(url, tmp_path):
    body = body_of(f"{url}/docs", tmp_path)

    assert "Distils light object detectors from heavy ones" in body
    assert 'data-path="/v1/jobs/{job_id}"' in body
    assert "Authorize" in body
