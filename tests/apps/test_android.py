"""The Android projects: their Python runs here as it would there, and what other tools read of them fits together.

What Android's linker asks of the kernel library is tests/aot/test_android.py.
"""

from __future__ import annotations

import ast
import asyncio
import re
import sys
import tomllib
import types
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from packaging.tags import android_platforms
from PIL import Image

import edgert
from edgert.apps.classify import Classifier
from edgert.format import Preprocessing
from edgert.models import fashion_mnist_samples

ROOT = Path(__file__).resolve().parents[2]
CHAQUOPY, BEEWARE = ROOT / "apps" / "android" / "chaquopy", ROOT / "apps" / "android" / "beeware"
APP = CHAQUOPY / "app"
MAIN = APP / "src" / "main"
ANDROID = "{http://schemas.android.com/apk/res/android}"
LABELS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def _load(path: Path, name: str) -> Any:
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def classifier(default_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the apps, with the model that the wheel for Android carries."""
    module = _load(MAIN / "python" / "classifier.py", "android_classifier")
    monkeypatch.setattr(module, "MODEL", default_model("int8"))
    return module


def rgba(image: Image.Image) -> tuple[bytes, int, int]:
    """As Android hands pixels over."""
    return image.convert("RGBA").tobytes(), *image.size


# ---- what Python does in both apps
def test_every_garment_is_named(classifier: Any, default_model: Callable[[str], Path]) -> None:
    """The pixels of Android's decoder give the answers, digit by digit, that files give on a workstation."""
    whole = Classifier(str(default_model("int8")), threads=1)
    for number, (path, label) in enumerate(fashion_mnist_samples()):
        assert classifier.sample(number) == str(path)
        *answers, speed = classifier.classify(*rgba(Image.open(path))).splitlines()
        assert answers[0].startswith(LABELS[label])
        assert answers == [f"{a.label}  {100 * a.probability:.1f} %" for a in whole(path, 3)]
        assert re.fullmatch(r"\d+\.\d ms, (AOT|JIT) \S+", speed)
    assert classifier.session() is classifier.session()


def test_photos_are_cut_and_made_smaller(classifier: Any) -> None:
    """A garment in the middle of a wide picture, ten times as large, is the same garment to the bit."""
    path = fashion_mnist_samples()[8][0]
    small = Image.open(path)
    wide = Image.new("RGB", (400, 280), (255, 0, 0))
    wide.paste(small.resize((280, 280), Image.Resampling.NEAREST), (60, 0))
    expected, found = (classifier.classify(*rgba(image)).splitlines()[:-1] for image in (small, wide))
    assert found == expected


def _steps(**given: Any) -> Preprocessing:
    return Preprocessing(**{"input": "x", "crop": (4, 4), "resize": 4, "channels": "RGB", **given})


def test_pixels_are_averages(classifier: Any, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (12, 8, 3), np.uint8)
    whole = classifier.fitted(image, _steps(resize=None))
    np.testing.assert_array_equal(whole, np.rint(image.reshape(4, 3, 4, 2, 3).mean((1, 3), dtype=np.float32)))
    middle = classifier.fitted(image, _steps())
    np.testing.assert_array_equal(middle, np.rint(image[2:10].reshape(4, 2, 4, 2, 3).mean((1, 3), dtype=np.float32)))
    part = classifier.fitted(image, _steps(crop=(2, 2)))
    np.testing.assert_array_equal(part, middle[1:3, 1:3])
    few = classifier.fitted(image[:2, :2], _steps())
    np.testing.assert_array_equal(few, image[:2, :2].repeat(2, 0).repeat(2, 1))
    grey = classifier.fitted(image[..., :1].repeat(3, 2), _steps(crop=(12, 8), resize=None, channels="L"))
    np.testing.assert_array_equal(grey, image[..., :1])


@pytest.mark.parametrize("shape", [(1, 1), (3, 1000), (1000, 3), (29, 31), (641, 479)])
def test_pictures_of_any_shape(classifier: Any, shape: tuple[int, int], rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (*shape, 4), np.uint8)
    assert len(classifier.classify(bytearray(image), shape[1], shape[0]).splitlines()) == 4


def test_both_projects_have_the_same_classifier() -> None:
    assert (MAIN / "python" / "classifier.py").read_bytes() == (
        BEEWARE / "src" / "edgert_classify" / "classifier.py"
    ).read_bytes()


# ---- the BeeWare app, on a screen that is not there
class _Bitmap:
    """android.graphics.Bitmap, as far as the app calls it."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def copy(self, config: object, mutable: bool) -> _Bitmap:
        assert (config, mutable) == ("ARGB_8888", False)
        return _Bitmap(self.image.convert("RGBA"))

    def getByteCount(self) -> int:
        return len(self.image.tobytes())

    def getWidth(self) -> int:
        return self.image.width

    def getHeight(self) -> int:
        return self.image.height

    def copyPixelsToBuffer(self, buffer: Any) -> None:
        buffer.memory[:] = self.image.tobytes()


@pytest.fixture
def java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules under the names of Java packages, as Chaquopy provides them on a phone."""

    def allocate(nbytes: int) -> Any:
        memory = bytearray(nbytes)
        return types.SimpleNamespace(memory=memory, array=lambda: memory)

    graphics = types.ModuleType("android.graphics")
    graphics.Bitmap = types.SimpleNamespace(Config=types.SimpleNamespace(ARGB_8888="ARGB_8888"))  # type: ignore[attr-defined]
    graphics.BitmapFactory = types.SimpleNamespace(decodeFile=lambda p: _Bitmap(Image.open(p)))  # type: ignore[attr-defined]
    nio = types.ModuleType("java.nio")
    nio.ByteBuffer = types.SimpleNamespace(allocate=allocate)  # type: ignore[attr-defined]
    for module in (types.ModuleType("android"), graphics, types.ModuleType("java"), nio):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_the_beeware_app_goes_through_the_garments(
    default_model: Callable[[str], Path], java: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGA_BACKEND", "toga_dummy")
    monkeypatch.syspath_prepend(str(BEEWARE / "src"))
    from edgert_classify.app import main

    app = main()
    monkeypatch.setattr(sys.modules["edgert_classify.classifier"], "MODEL", default_model("int8"))
    _, answer, button = app.main_window.content.children
    try:
        for label in (*LABELS, LABELS[0]):  # the first one by on_running
            app.loop.run_until_complete(asyncio.sleep(0))  # handlers become tasks
            app.loop.run_until_complete(asyncio.wait(asyncio.all_tasks(app.loop)))
            assert answer.text.startswith(label)
            button.on_press()
        assert app.picture.image.size == (28, 28)
    finally:
        app.loop.close()


# ---- what other tools read
def _android_wheel() -> str:
    """Name of the wheel for Android: setup.py has the platform."""
    for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PLATFORMS":
            return f"edgert-{edgert.__version__}-py3-none-{ast.literal_eval(node.value)['android']}.whl"
    raise AssertionError("setup.py has no PLATFORMS")


def test_both_projects_install_the_wheel_for_android() -> None:
    wheel = _android_wheel()
    tag, abi = re.fullmatch(r".*-(android_\d+_(\w+))\.whl", wheel).groups()  # type: ignore[union-attr]
    gradle = (APP / "build.gradle.kts").read_text("utf-8")
    assert f'install("wheels/{wheel}")' in gradle
    assert f'abiFilters += "{abi.replace("_", "-")}"' in gradle
    least = re.search(r"minSdk = (\d+)", gradle)
    assert least is not None
    assert tag in set(android_platforms(int(least[1]), abi))  # what pip takes for a phone of that version

    briefcase = tomllib.loads((BEEWARE / "pyproject.toml").read_text("utf-8"))["tool"]["briefcase"]
    assert briefcase.keys() >= {"project_name", "bundle", "version", "license", "app"}
    ((name, app),) = briefcase["app"].items()
    assert app.keys() >= {"formal_name", "description", "sources"}
    assert f"./wheels/{wheel}" in app["android"]["requires"]
    assert app["android"]["android_abis"] == [abi.replace("_", "-")]
    assert [(BEEWARE / source / "__main__.py").is_file() for source in app["sources"]] == [True]
    assert Path(app["sources"][0]).name == name
    index = app["android"]["requirement_installer_args"]
    assert f'options("{index[0]}", "{index[1]}")' in gradle


def _code(text: str) -> str:
    """Java or Kotlin without comments and the insides of strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', lambda m: '""' if m[0][0] == '"' else "", text, flags=re.S)


@pytest.mark.parametrize(
    "path", sorted([*CHAQUOPY.rglob("*.kts"), *CHAQUOPY.rglob("*.java")]), ids=lambda p: p.relative_to(CHAQUOPY)
)
def test_brackets_are_closed(path: Path) -> None:
    pairs, waiting = {")": "(", "]": "[", "}": "{"}, []
    for mark in re.findall(r"[()\[\]{}\"]", re.sub('""', "", _code(path.read_text("utf-8")))):
        assert mark != '"', "a string that does not end"
        if mark in pairs:
            assert waiting.pop() == pairs[mark]
        else:
            waiting.append(mark)
    assert waiting == []


def test_the_chaquopy_project_fits_together(classifier: Any) -> None:
    """Names that one file uses and another defines: resources, classes, modules, functions."""
    java = "".join(path.read_text("utf-8") for path in MAIN.rglob("*.java"))
    trees = {path.relative_to(MAIN): ElementTree.parse(path).getroot() for path in MAIN.rglob("*.xml")}
    manifest = trees.pop(Path("AndroidManifest.xml"))
    defined = {("string", item.attrib["name"]) for root in trees.values() for item in root.iter("string")}
    defined |= {(path.parent.name, path.stem) for path in trees}
    used = set(re.findall(r"\bR\.(\w+)\.(\w+)", java))
    for root in (manifest, *trees.values()):
        for item in root.iter():
            for value in item.attrib.values():
                defined |= {("id", value[5:])} if value.startswith("@+id/") else set()
                used |= {(kind, name) for kind, name in re.findall(r"^@(\w+)/(\w+)$", value)}
    assert used - defined == set()
    assert not {item for item in defined if item[0] in ("id", "string")} - used

    package = re.search(r'namespace = "([\w.]+)"', (APP / "build.gradle.kts").read_text("utf-8"))
    assert package is not None
    folder = MAIN / "java" / package[1].replace(".", "/")
    (activity,) = manifest.iter("activity")
    source = folder / f"{activity.attrib[f'{ANDROID}name'][1:]}.java"
    assert f"package {package[1]};" in source.read_text("utf-8")
    for module in re.findall(r'getModule\("(\w+)"\)', java):
        assert (MAIN / "python" / f"{module}.py").is_file()
    called = re.findall(r'callAttr\("(\w+)"', java)
    assert set(called) == {"sample", "classify"}
    assert all(callable(getattr(classifier, name)) for name in called)


def test_gradle_and_its_plugins_are_pinned() -> None:
    wrapper = (CHAQUOPY / "gradle" / "wrapper" / "gradle-wrapper.properties").read_text("utf-8")
    assert re.search(
        r"^distributionUrl=https\\://services\.gradle\.org/distributions/gradle-[\d.]+-bin\.zip$", wrapper, re.M
    )
    plugins = dict(
        re.findall(r'id\("([\w.]+)"\) version "([\d.]+)"', (CHAQUOPY / "build.gradle.kts").read_text("utf-8"))
    )
    assert plugins.keys() == {"com.android.application", "com.chaquo.python"}
    applied = re.findall(r'^    id\("([\w.]+)"\)$', (APP / "build.gradle.kts").read_text("utf-8"), re.M)
    assert applied == sorted(plugins)  # the Android plugin first, as Chaquopy wants it
    assert 'include(":app")' in (CHAQUOPY / "settings.gradle.kts").read_text("utf-8")
