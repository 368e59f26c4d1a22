"""Draws the four tissues: they differ in arrangement and share their colours on purpose.

Every region draws its own sizes, densities and pale shares from ranges that overlap between
classes, so that no amount of stain gives a class away; only how it is laid out does.
"""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, Float32

from eosin.phantom.ground import Ground
from eosin.phantom.nuclei import NucleusKind, render_sprites, stamp

_PALE = 0.05


def draw_gland(ground: Ground, rng: np.random.Generator) -> None:
    """Draw crypts: basal rings of nuclei around pale lumens, loose stroma between."""
    eosin = rng.uniform(0.36, 0.56)
    hematoxylin = rng.uniform(0.12, 0.3)
    gap_eosin = eosin * rng.uniform(0.35, 0.9)
    base = 1 + 0.25 * ground.noise(rng, 6.0)
    ground.fill(np.float32(0.5 * hematoxylin) * base, np.float32(gap_eosin) * base)
    spindle = NucleusKind(major_um=4.5, minor_um=1.6, hematoxylin=0.8)
    between = ground.scatter_um(rng, spacing_um=rng.uniform(11, 16), jitter=0.25, margin_um=0.0)
    _stamp(ground, rng, spindle, between, rng.uniform(0, np.pi, len(between)))
    radius_um = rng.uniform(25, 42)
    lumen_share = rng.uniform(0.3, 0.7)
    lumen_eosin = rng.uniform(0.0, 0.14)
    spacing_um = 2 * radius_um * rng.uniform(1.0, 1.12)
    centres = ground.scatter_um(rng, spacing_um=spacing_um, jitter=0.05, margin_um=0.4 * radius_um)
    ring: list[Float[np.ndarray, "nuclei 3"]] = []
    for centre in centres:
        outline = _blob(rng, radius_um * rng.uniform(0.82, 1.05), 0.13)
        ground.polygon(centre + outline, hematoxylin=hematoxylin, eosin=eosin)
        apical = 0.5 * (1 + lumen_share)
        ground.polygon(centre + outline * apical, hematoxylin=0.6 * hematoxylin, eosin=0.8 * eosin)
        lumen = outline * lumen_share + rng.normal(0, 0.03 * radius_um, 2)
        ground.polygon(centre + lumen, hematoxylin=0.0, eosin=_PALE + lumen_eosin)
        ring.append(_ring(rng, centre, outline))
    if ring:
        x, y, angle = np.concatenate(ring).T
        columnar = NucleusKind(major_um=4.3, minor_um=2.5, hematoxylin=0.8)
        _stamp(ground, rng, columnar, np.stack([x, y], axis=1), angle)


def draw_stroma(ground: Ground, rng: np.random.Generator) -> None:
    """Draw wavy bundles of fibres with pale clefts and spindle nuclei along them."""
    eosin = rng.uniform(0.38, 0.6)
    hematoxylin = rng.uniform(0.08, 0.24)
    y, x = ground.field_axes_um()
    turn = rng.uniform(0, np.pi)
    across = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    across = across + np.float32(rng.uniform(14, 24)) * ground.noise(rng, 75.0)
    across += np.float32(2.5) * ground.noise(rng, 18.0)
    wavelength_um = rng.uniform(5.5, 9.5)
    wave = np.sin(across * np.float32(2 * np.pi / wavelength_um))
    fine = np.sin(across * np.float32(2 * np.pi * 2.7 / wavelength_um))
    fibre = 1 + 0.2 * wave + 0.12 * fine
    cleft_share = rng.uniform(0.05, 0.5)
    residue = np.float32(rng.uniform(0.05, 0.4))
    openness = -wave + 0.5 * ground.noise(rng, 45.0) + 0.25 * ground.noise(rng, 8.0)
    solid = _step(np.quantile(openness[::8, ::8], 1 - cleft_share) - openness, 0.2)
    ground.fill(
        np.float32(hematoxylin) * fibre * solid,
        np.float32(eosin) * fibre * (solid + residue * (1 - solid)),
    )
    slope_y, slope_x = np.gradient(across, axis=0), np.gradient(across, axis=1)
    spacing_um = rng.uniform(7.8, 11.5)
    centres = ground.scatter_um(rng, spacing_um=spacing_um, jitter=0.22, margin_um=0.0)
    centres = centres[ground.look_up(solid, centres) > 0.5]
    along = np.arctan2(-ground.look_up(slope_x, centres), ground.look_up(slope_y, centres))
    spindle = NucleusKind(major_um=6.5, minor_um=1.7, hematoxylin=0.85)
    _stamp(ground, rng, spindle, centres, along.astype(np.float64))


def draw_lymphoid(ground: Ground, rng: np.random.Generator) -> None:
    """Draw dense small round nuclei, paler follicle centres and branching sinuses."""
    eosin = rng.uniform(0.34, 0.54)
    hematoxylin = rng.uniform(0.06, 0.2)
    cleft_share = rng.uniform(0.05, 0.5)
    residue = np.float32(rng.uniform(0.05, 0.4))
    sinus = np.abs(ground.noise(rng, 55.0)) + 0.12 * ground.noise(rng, 9.0)
    sinus -= np.quantile(sinus[::8, ::8], rng.uniform(0.01, 0.1))
    halo = ground.noise(rng, 6.0)
    halo -= np.quantile(halo[::8, ::8], cleft_share)
    open_tissue = _step(sinus, 0.06)
    solid = open_tissue * _step(halo, 0.2)
    base = (1 + 0.2 * ground.noise(rng, 4.0)) * (solid + residue * (1 - solid))
    ground.fill(np.float32(hematoxylin) * base, np.float32(eosin) * base)
    follicle = ground.noise(rng, 110.0) - np.float32(rng.uniform(0.7, 1.3))
    small = NucleusKind(major_um=2.9, minor_um=2.6, hematoxylin=0.75)
    large = NucleusKind(major_um=4.0, minor_um=3.4, hematoxylin=0.55)
    spacing_um = rng.uniform(7.3, 9.4)
    for kind, is_follicle, spread in ((small, False, 1.0), (large, True, 1.35)):
        centres = ground.scatter_um(rng, spacing_um=spread * spacing_um, jitter=0.16, margin_um=0.0)
        keep = (ground.look_up(follicle, centres) > 0) == is_follicle
        centres = centres[keep & (ground.look_up(open_tissue, centres) > 0.6)]
        _stamp(ground, rng, kind, centres, rng.uniform(0, np.pi, len(centres)))


def draw_fat(ground: Ground, rng: np.random.Generator) -> None:
    """Draw pale vacuoles packed side by side, septa between them with a few nuclei."""
    eosin = rng.uniform(0.4, 0.65)
    hematoxylin = rng.uniform(0.06, 0.26)
    base = 1 + 0.2 * ground.noise(rng, 5.0)
    ground.fill(np.float32(hematoxylin) * base, np.float32(eosin) * base)
    radius_um = rng.uniform(13, 28)
    septum_um = rng.uniform(2.0, 11.0)
    vacuole_eosin = rng.uniform(0.0, 0.14)
    centres = ground.scatter_um(rng, spacing_um=2 * radius_um, jitter=0.1, margin_um=0.0)
    cells = _cells(centres, reach_um=1.25 * radius_um)
    shrink = max(0.3, 1 - septum_um / (2 * radius_um))
    for centre, outline in zip(centres, cells, strict=True):
        if not ground.contains(outline).all():
            ground.polygon(_rounded(outline), hematoxylin=hematoxylin, eosin=eosin)
        vacuole = _rounded(centre + (outline - centre) * shrink)
        amount = _PALE + vacuole_eosin * rng.uniform(0.6, 1.4)
        ground.polygon(vacuole, hematoxylin=0.0, eosin=amount)
    if cells:
        starts = np.concatenate(cells)
        ends = np.concatenate([np.roll(outline, -1, axis=0) for outline in cells])
        chosen = rng.random(len(starts)) < rng.uniform(0.1, 0.4)
        chosen &= ground.contains(0.5 * (starts + ends))
        where = 0.5 * (starts + ends)[chosen]
        edge_x, edge_y = (ends - starts)[chosen].T
        crescent = NucleusKind(major_um=4.8, minor_um=1.9, hematoxylin=0.85)
        _stamp(ground, rng, crescent, where, np.arctan2(edge_y, edge_x))


TEXTURES: dict[str, Callable[[Ground, np.random.Generator], None]] = {
    "gland": draw_gland,
    "stroma": draw_stroma,
    "lymphoid": draw_lymphoid,
    "fat": draw_fat,
}


def _stamp(
    ground: Ground,
    rng: np.random.Generator,
    kind: NucleusKind,
    centres_um: Float[np.ndarray, "nuclei 2"],
    angles: Float[np.ndarray, "nuclei"],
) -> None:
    sprites = render_sprites(rng, kind, ground.px_per_um)
    stamp(ground.hematoxylin, sprites, centres_um * ground.px_per_um, angles, rng)


def _step(field: Float32[np.ndarray, "fy fx"], width: float) -> Float32[np.ndarray, "fy fx"]:
    """Return 1 where the field is positive and 0 where it is negative, `width` in between."""
    return np.clip(field / np.float32(width) + np.float32(0.5), 0, 1)


def _blob(
    rng: np.random.Generator, radius_um: float, unevenness: float
) -> Float[np.ndarray, "48 2"]:
    """Return the outline of a rounded blob around the origin."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.full_like(turn, radius_um)
    for harmonic in (2, 3, 5):
        share = unevenness * rng.uniform(0.3, 1) * 2 / harmonic
        radius *= 1 + share * np.cos(harmonic * turn + rng.uniform(0, 2 * np.pi))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def _ring(
    rng: np.random.Generator,
    centre_um: Float[np.ndarray, "2"],
    outline_um: Float[np.ndarray, "corners 2"],
) -> Float[np.ndarray, "nuclei 3"]:
    """Return x, y and angle of nuclei that stand along the inside of an outline."""
    inner = outline_um * 0.82
    steps = np.hypot(*(np.roll(inner, -1, axis=0) - inner).T)
    walked = np.cumsum(steps) - steps[0]
    at = np.arange(0, walked[-1], rng.uniform(5.2, 6.8))
    x, y = (np.interp(at, walked, coordinate) for coordinate in inner.T)
    depth = rng.normal(1, 0.05, len(at))
    return np.stack([centre_um[0] + x * depth, centre_um[1] + y * depth, np.arctan2(y, x)], axis=1)


def _cells(
    centres_um: Float[np.ndarray, "points 2"], *, reach_um: float
) -> list[Float[np.ndarray, "corners 2"]]:
    """Return each point's Voronoi cell; corners farther than `reach_um` are pulled in."""
    if not len(centres_um):
        return []
    low = centres_um.min(axis=0) - 1
    span = np.ceil(centres_um.max(axis=0) - low + 2).astype(int)
    plane = cv2.Subdiv2D((0, 0, int(span[0]), int(span[1])))
    plane.insert([(float(x), float(y)) for x, y in centres_um - low])
    facets, _ = plane.getVoronoiFacetList([])
    cells = []
    for centre, facet in zip(centres_um, facets, strict=True):
        spoke = np.asarray(facet, np.float64) + low - centre
        length = np.hypot(*spoke.T)[:, None]
        cells.append(centre + spoke * np.minimum(1, reach_um / np.maximum(length, 1e-6)))
    return cells


def _rounded(outline: Float[np.ndarray, "corners 2"]) -> Float[np.ndarray, "more 2"]:
    """Return the outline with its corners cut twice (Chaikin's scheme)."""
    for _ in range(2):
        following = np.roll(outline, -1, axis=0)
        cut = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1)
        outline = cut.reshape(-1, 2)
    return outline
