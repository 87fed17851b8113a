"""One kitchen as MuJoCo's XML: the arm with its motors, counter, sink, stove, cameras, and the free bodies of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from robot_pt.robots import mjcf_path
from robot_pt.rotations import matrix_to_quaternion, rpy_to_matrix
from robot_pt_sim.kitchen import servo
from robot_pt_sim.kitchen.fixtures import Fixture, add_fixture
from robot_pt_sim.kitchen.layouts import COUNTER_M, Box, Layout, Texture
from robot_pt_sim.kitchen.things import Part, Point, Thing

ROBOT = "wx250s"
TIMESTEP_S = 0.004
SINK_FLOOR_M, STOVE_M = -0.08, COUNTER_M + 0.004
"""Heights of the sink's floor and of the stove's plate [m]."""
COUNTER = Box((0.12, 0.56), (-0.32, 0.40))
"""All of the counter; the wall is behind it."""
_BELOW = -0.12  # the counter's lower edge
SURFACES = ("counter", "sink", "stove")


def kitchen_xml(layout: Layout, things: Sequence[Thing], fixture: Fixture | None = None) -> str:
    """MJCF of the layout with one free body per thing, named as it, and the fixture if one is given; geoms are NAME:0, NAME:1 ..."""
    root = ElementTree.parse(mjcf_path(ROBOT)).getroot()
    servo.drive(root)
    for part in root.findall("keyframe"):  # has no place for the free bodies
        root.remove(part)
    option = root.find("option")
    assert option is not None, "the arm's file has options"
    option.set("timestep", f"{TIMESTEP_S:g}")
    SubElement(root, "statistic", extent="1.2", center="0.3 0 0")
    visual = SubElement(root, "visual")
    SubElement(visual, "headlight", ambient="0.48 0.48 0.48", diffuse="0.2 0.2 0.2", specular="0 0 0")
    SubElement(visual, "map", znear="0.01", zfar="4")
    _materials(root, layout)
    world = root.find("worldbody")
    assert world is not None, "the arm's file has a worldbody"
    _fixtures(world, layout)
    _cameras(world, layout)
    if fixture is not None:
        add_fixture(root, world, fixture, layout)
    for thing in things:
        _free_body(world, thing)
    for geom in root.iter("geom"):
        geom.set("group", "1")
    return ElementTree.tostring(root, encoding="unicode")


def _materials(root: Element, layout: Layout) -> None:
    asset = SubElement(root, "asset")
    SubElement(
        asset, "texture", name="sky", type="skybox", builtin="gradient", width="16", height="96",
        rgb1="0.55 0.55 0.52", rgb2="0.30 0.30 0.30",
    )  # fmt: skip
    textures = {"counter": layout.counter, "wall": layout.wall}
    for name, texture in textures.items():
        _texture(asset, name, texture)
    for name, colour in (("cabinet", layout.cabinet), ("sink", layout.sink_colour), ("stove", (0.09, 0.09, 0.10))):
        SubElement(asset, "material", name=name, rgba=_numbers((*colour, 1.0)))


def _texture(asset: Element, name: str, texture: Texture) -> None:
    SubElement(
        asset, "texture", name=name, type="2d", builtin=texture.kind, width="128", height="128",
        rgb1=_numbers(texture.first), rgb2=_numbers(texture.second),
    )  # fmt: skip
    repeat = _numbers((texture.repeat / 4, texture.repeat / 4))
    SubElement(asset, "material", name=name, texture=name, texrepeat=repeat, texuniform="false")


def _fixtures(world: Element, layout: Layout) -> None:
    sink, stove = layout.sink, layout.stove
    (left, right), (near, far) = COUNTER.y, COUNTER.x
    around = (
        Box((near, sink.x[0]), (left, right)),
        Box((sink.x[1], far), (left, right)),
        Box(sink.x, (left, sink.y[0])),
        Box(sink.x, (sink.y[1], right)),
    )
    for number, box in enumerate(around):
        _slab(world, f"counter:{number}", box, _BELOW, COUNTER_M, "counter")
    _slab(world, "sink:0", sink, _BELOW, SINK_FLOOR_M, "sink")
    _slab(world, "stove:0", stove, COUNTER_M - 0.01, STOVE_M - 0.001, "stove")
    x, y = stove.centre
    SubElement(
        world, "geom", name="stove:1", type="cylinder", size=_numbers((0.045, 0.0005)),
        pos=_numbers((x, y, STOVE_M - 0.0005)), rgba="0.22 0.20 0.20 1",
    )  # fmt: skip
    _slab(world, "wall", Box((far, far + 0.02), (left - 0.3, right + 0.3)), -0.4, 0.55, "wall")
    _slab(world, "cabinet", Box((near - 0.01, far), (left - 0.01, right + 0.01)), -0.4, _BELOW, "cabinet")
    _slab(world, "stand", Box((-0.20, near - 0.01), (-0.14, 0.14)), -0.4, 0.0, "cabinet")
    for number, light in enumerate(layout.lights):
        SubElement(
            world, "light", name=f"light:{number}", pos=_numbers(light.position), dir=_numbers(_towards(light.position)),
            diffuse=_numbers((light.brightness,) * 3), specular="0.1 0.1 0.1", castshadow="false",
        )  # fmt: skip


def _slab(world: Element, name: str, box: Box, low: float, high: float, material: str) -> None:
    half = ((box.x[1] - box.x[0]) / 2, (box.y[1] - box.y[0]) / 2, (high - low) / 2)
    position = (*box.centre, (low + high) / 2)
    SubElement(
        world, "geom", name=name, type="box", size=_numbers(half), pos=_numbers(position), material=material,
        friction="0.8 0.01 0.0001",
    )  # fmt: skip


def _cameras(world: Element, layout: Layout) -> None:
    for name, (position, target) in (("primary", layout.primary), ("secondary", layout.secondary)):
        _camera(world, name, position, target, (0.0, 0.0, 1.0), 46.0)
    hand = next(body for body in world.iter("body") if body.get("name") == "gripper_bar_link")
    _camera(hand, "wrist", (-0.035, 0.0, 0.075), (0.085, 0.0, 0.0), (0.0, 0.0, 1.0), 75.0)


def _camera(parent: Element, name: str, position: Point, target: Point, up: Point, fovy: float) -> None:
    back = np.array(position) - np.array(target)
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    axes = _numbers((*right, *np.cross(back, right)))
    SubElement(parent, "camera", name=name, pos=_numbers(position), xyaxes=axes, fovy=f"{fovy:g}")


def _free_body(world: Element, thing: Thing) -> None:
    body = SubElement(world, "body", name=thing.name, pos="0 0 -1")
    SubElement(body, "freejoint", name=thing.name)
    volumes = [_volume(part) for part in thing.parts]
    for number, (part, volume) in enumerate(zip(thing.parts, volumes, strict=True)):
        x, y, z, w = matrix_to_quaternion(rpy_to_matrix(part.rpy))
        SubElement(
            body, "geom", name=f"{thing.name}:{number}", type=part.shape, size=_numbers(part.size),
            pos=_numbers(part.position), quat=_numbers((w, x, y, z)), rgba=_numbers((*part.colour, 1.0)),
            mass=f"{thing.mass_kg * volume / sum(volumes):.8g}", friction=f"{thing.friction:g} 0.01 0.0001", condim="4",
        )  # fmt: skip


def _volume(part: Part) -> float:
    a, b, c = (*part.size, 0.0, 0.0)[:3]
    if part.shape == "box":
        return 8 * a * b * c
    if part.shape == "ellipsoid":
        return 4 / 3 * np.pi * a * b * c
    assert part.shape in ("capsule", "cylinder"), part.shape
    return np.pi * a**2 * (2 * b + (4 / 3 * a if part.shape == "capsule" else 0.0))


def _towards(position: Point) -> tuple[float, ...]:
    return tuple(np.array((0.3, 0.0, 0.0)) - np.array(position))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.8g}" for value in values)
