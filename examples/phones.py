"""What the ten digits are made of: the sounds of English that they need, and how each is pronounced.

For the sources of the numbers see `spoken_digits`.
"""

from __future__ import annotations

from dataclasses import dataclass

NASAL_POLE_HZ = 270.0


@dataclass(frozen=True, slots=True)
class Phone:
    """Targets of one stretch of a word, for a grown man; amplitudes are relative to a stressed vowel's 1."""

    formants_hz: tuple[float, float, float]
    """F1 to F3."""
    bandwidths_hz: tuple[float, float, float]
    """B1 to B3."""
    seconds: float
    voicing: float = 0.0
    aspiration: float = 0.0
    """Noise at the glottis, shaped by the formants."""
    frication: float = 0.0
    """Noise at a constriction, shaped by `noise_hz`."""
    noise_hz: tuple[float, float] = (5000.0, 8000.0)
    """Centre and bandwidth of the frication; the default is nearly flat."""
    nasal_zero_hz: float = NASAL_POLE_HZ
    """On the nasal pole it cancels it, so that nothing is nasal; nasals move it away."""


_S_HZ, _T_HZ, _K_HZ, _TH_HZ = (4900.0, 1000.0), (4200.0, 2000.0), (2600.0, 600.0), (5600.0, 4000.0)

PHONES: dict[str, Phone] = {
    # Peterson and Barney (1952), men; bandwidths of Klatt's nearest vowel
    "iy": Phone((270, 2290, 3010), (50, 200, 400), 0.150, 1.0),
    "ih": Phone((390, 1990, 2550), (50, 100, 140), 0.085, 0.9),
    "eh": Phone((530, 1840, 2480), (60, 90, 200), 0.100, 1.0),
    "ah": Phone((640, 1190, 2390), (80, 50, 140), 0.120, 1.0),
    "ao": Phone((570, 840, 2410), (90, 100, 80), 0.150, 1.0),
    "er": Phone((490, 1350, 1690), (100, 60, 110), 0.090, 0.8),
    # A neutral vowel, between all others
    "ax": Phone((500, 1450, 2450), (80, 80, 140), 0.045, 0.6),
    # Klatt (1980), Table II: both ends of the diphthongs
    "ey1": Phone((480, 1720, 2520), (70, 100, 200), 0.110, 1.0),
    "ey2": Phone((330, 2020, 2600), (55, 100, 200), 0.080, 0.8),
    "ay1": Phone((660, 1200, 2550), (100, 70, 200), 0.110, 1.0),
    "ay2": Phone((400, 1880, 2500), (70, 100, 200), 0.080, 0.8),
    "ow1": Phone((540, 1100, 2300), (80, 70, 70), 0.090, 1.0),
    "ow2": Phone((450, 900, 2300), (80, 70, 70), 0.100, 0.7),
    "uw1": Phone((350, 1250, 2200), (65, 110, 140), 0.070, 0.9),
    "uw2": Phone((320, 900, 2200), (65, 110, 140), 0.100, 0.8),
    # Klatt (1980), Table III; a stop is its closure (-), its burst, and the breath after it (+)
    "w": Phone((290, 610, 2150), (50, 80, 60), 0.070, 0.5),
    "r": Phone((310, 1060, 1380), (70, 100, 120), 0.065, 0.5),
    "n": Phone((480, 1340, 2470), (40, 300, 300), 0.090, 0.4, nasal_zero_hz=450),
    "f": Phone((340, 1100, 2080), (200, 120, 150), 0.105, frication=0.080),
    "v": Phone((220, 1100, 2080), (60, 90, 120), 0.075, 0.25, frication=0.035),
    "th": Phone((320, 1290, 2540), (200, 90, 200), 0.100, frication=0.040, noise_hz=_TH_HZ),
    "s": Phone((320, 1390, 2530), (200, 80, 200), 0.110, frication=0.300, noise_hz=_S_HZ),
    "z": Phone((240, 1390, 2530), (70, 60, 180), 0.080, 0.20, frication=0.150, noise_hz=_S_HZ),
    "t-": Phone((400, 1600, 2600), (300, 120, 250), 0.055),
    "t": Phone((400, 1600, 2600), (300, 120, 250), 0.015, frication=0.140, noise_hz=_T_HZ),
    "t+": Phone((400, 1600, 2600), (300, 120, 250), 0.045, aspiration=0.15),
    "k-": Phone((300, 1990, 2850), (250, 160, 330), 0.050),
    "k": Phone((300, 1990, 2850), (250, 160, 330), 0.020, frication=0.120, noise_hz=_K_HZ),
}
PHONE_INDEX = {name: index for index, name in enumerate(PHONES)}

PRONUNCIATIONS: tuple[tuple[str, ...], ...] = (
    ("z ih r ow1 ow2", "z iy r ow1 ow2"),
    ("w ah n",),
    ("t t+ uw1 uw2",),
    ("th r iy",),
    ("f ao er", "f ao ao"),
    ("f ay1 ay2 v",),
    ("s ih k- k s",),
    ("s eh v ax n", "s eh v n"),
    ("ey1 ey2 t- t t+", "ey1 ey2 t-"),
    ("n ay1 ay2 n",),
)
"""Two for words that people say in two ways: zero by its first vowel, four with and without r, seven with
and without a second vowel, eight with its t released or held."""
