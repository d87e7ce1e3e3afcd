"""Headless Chromium over its debugging pipe (CDP): JSON messages that end in a zero byte, so no library is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page in a browser of its own; what its console says and what it asks the network for is kept."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        (ours_out, theirs_in), (theirs_out, ours_in) = os.pipe()[::-1], os.pipe()
        command = (
            f"exec {CHROMIUM} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
            f" --hide-scrollbars --user-data-dir={profile} --remote-debugging-pipe about:blank"
            f" 3<&{theirs_in} 4>&{ours_in}"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(theirs_in, ours_in), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(ours_in)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(theirs_out, "rb")
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=20)
        self._out.close()
        self._in.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """One command; events that come before its answer are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: Path, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Open a file at a width, in light or dark."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self._loaded = False
        self.call("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._note(self._receive())

    def run(self, script: str) -> Any:
        """The value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Keys as a user presses them."""
        codes = {"Enter": 13, "Tab": 9, "Escape": 27}
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **code)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def point(self, selector: str) -> list[float]:
        """Move the mouse to the middle of an element."""
        x, y = self.run(
            f"{{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); [b.x + b.width / 2, b.y + b.height / 2] }"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return [x, y]

    def click(self, selector: str) -> None:
        """A click into the middle of an element."""
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot of the page, the part below the window included."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _receive(self) -> dict[str, Any]:
        parts = []
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "Chromium ended"
            parts.append(byte)
        answer: dict[str, Any] = json.loads(b"".join(parts))
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        what = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                self.complaints.append(str(what["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(what["args"]))
            case "Log.entryAdded":
                self.complaints.append(what["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(what["request"]["url"])
