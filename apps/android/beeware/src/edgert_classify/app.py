"""The screen: a picture, what edgert says is on it, and a button for the next one. What it says is classifier.py.

Runs on Android alone: Android's decoder, reached through Chaquopy, turns files into pixels.
"""

from __future__ import annotations

import asyncio

import toga
from toga.constants import COLUMN

from edgert_classify import classifier


class Classify(toga.App):
    """Goes through the pictures that ship with edgert."""

    def startup(self) -> None:
        self.number = 0
        self.picture = toga.ImageView(flex=1, margin=16)
        self.answer = toga.Label("", margin=16, font_size=16)
        button = toga.Button("Next picture", on_press=self.show_next, margin=16)
        self.main_window = toga.MainWindow(title=self.formal_name)
        self.main_window.content = toga.Box(children=[self.picture, self.answer, button], direction=COLUMN)
        self.main_window.show()

    async def on_running(self) -> None:
        await self.show_next()

    async def show_next(self, widget: toga.Widget | None = None) -> None:
        """Shows a picture at once and then its answer: the first one takes a second, in which the model is opened."""
        path = classifier.sample(self.number)
        self.number += 1
        self.picture.image = toga.Image(path)
        self.answer.text = "…"
        await asyncio.sleep(0.1)  # the screen is drawn now
        self.answer.text = classifier.classify(*decode(path))


def decode(path: str) -> tuple[bytes, int, int]:
    """(bytes R, G, B, A row by row, width, height) of an image file."""
    from android.graphics import Bitmap, BitmapFactory
    from java.nio import ByteBuffer

    bitmap = BitmapFactory.decodeFile(path).copy(Bitmap.Config.ARGB_8888, False)
    buffer = ByteBuffer.allocate(bitmap.getByteCount())
    bitmap.copyPixelsToBuffer(buffer)
    return bytes(buffer.array()), bitmap.getWidth(), bitmap.getHeight()


def main() -> Classify:
    """What __main__ runs."""
    return Classify("edgert classify", "com.example.edgert-classify")
