"""Names what is on images: a file, or a folder into which a camera writes. Meant to be copied and changed.

python -m edgert.apps.classify model.edge photo.jpg          one answer
python -m edgert.apps.classify model.edge /var/camera        every image as it arrives, until Ctrl-C
python -m edgert.apps.classify model.edge /var/camera --once what is there now
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import edgert
from edgert.errors import EdgertError, InputError
from edgert.preprocess import IMAGE_SUFFIXES, load_image
from edgert.runtime.postprocess import Answer, top

POLL_SECONDS = 0.2
"""Between two looks into the folder: cheap, works on any file system, and soon enough for people."""


class Classifier:
    """A model file that answers for images."""

    def __init__(self, model: str, threads: int | None = None) -> None:
        self.session = edgert.load(model, threads=threads)
        steps = self.session.info.preprocessing
        if steps is None:
            raise InputError(
                f"{model}: expected a model that says how an image becomes its input; convert it with --input-size, "
                "--mean and --scale"
            )
        self.steps = steps

    def __call__(self, image: Path, count: int = 1) -> list[Answer]:
        """The `count` most probable classes. Raises InputError for what is not an image."""
        (scores,) = self.session.run(None, {self.steps.input: load_image(image, self.steps)})
        return top(scores, self.session.info.labels, count, self.session.model.graph.types[self._output()].quant)

    def _output(self) -> str:
        return self.session.get_outputs()[0].name


def images_in(folder: Path) -> list[Path]:
    """Images in `folder` by time of arrival. Cameras write to hidden names first: those are passed over."""
    found = []
    for path in folder.iterdir():
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            try:
                found.append((path.stat().st_mtime_ns, path.name, path))
            except FileNotFoundError:
                continue  # removed while we looked
    return [path for _, _, path in sorted(found)]


def arriving(folder: Path, poll: float = POLL_SECONDS) -> Iterator[Path]:
    """Every image that appears in `folder` or changes there, once it has kept its size for one poll: not while it
    is still being written. Ends never; what is there at the start is passed over."""
    return _arriving(folder, poll, {path: _stamp(path) for path in images_in(folder)})


def _arriving(folder: Path, poll: float, done: dict[Path, tuple[int, int]]) -> Iterator[Path]:
    growing: dict[Path, tuple[int, int]] = {}
    while True:
        present = images_in(folder)
        done = {path: stamp for path, stamp in done.items() if path in present}  # a name may come again
        for path in present:
            stamp = _stamp(path)
            if done.get(path) == stamp:
                continue
            if growing.get(path) == stamp and stamp[1] > 0:
                done[path] = growing.pop(path)
                yield path
            else:
                growing[path] = stamp
        time.sleep(poll)


def _stamp(path: Path) -> tuple[int, int]:
    """(time of change, bytes) of a file; zeros once it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def report(classify: Classifier, image: Path, count: int) -> bool:
    """Prints the answers for one image, or on stderr why there are none."""
    start = time.perf_counter()
    try:
        answers = classify(image, count)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return False
    milliseconds = 1e3 * (time.perf_counter() - start)
    words = ", ".join(f"{a.label or f'class {a.index}'} {100 * a.probability:.1f} %" for a in answers)
    print(f"{image.name}: {words}  ({milliseconds:.1f} ms)", flush=True)
    return True


def main(argv: list[str] | None = None) -> int:
    """0, or 1 when something could not be answered, 2 for wrong use, 130 when interrupted before an answer."""
    parser = argparse.ArgumentParser(prog="classify", description="Name what is on an image, or on a camera's images.")
    parser.add_argument("model", help="a .edge file of a classifier")
    parser.add_argument("source", type=Path, help="an image, or a folder to watch")
    parser.add_argument("--once", action="store_true", help="classify what is in the folder now, and end")
    parser.add_argument("--top", type=int, default=3, metavar="N", help="classes to name (default 3)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: the cores this process may use")
    options = parser.parse_args(argv)
    if options.top < 1:
        parser.error(f"--top: expected at least 1, found {options.top}")
    try:
        classify = Classifier(options.model, options.threads)
        print(classify.session.summary(), file=sys.stderr)
        if not options.source.is_dir():
            return 0 if report(classify, options.source, options.top) else 1
        if options.once:
            return 0 if all([report(classify, image, options.top) for image in images_in(options.source)]) else 1
        images = arriving(options.source)  # from now on, not from the first one asked for
        print(f"watching {options.source}; Ctrl-C ends", file=sys.stderr, flush=True)
        for image in images:
            report(classify, image, options.top)
    except EdgertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
