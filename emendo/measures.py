"""How units of measure are written in manuals and answers: one name -> the spellings that mean it, in lower case."""

UNIT_NAMES = {
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "%": "% percent",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "m": "m metre metres meter meters",
    "in": "in inch inches",
    "ml": "ml millilitre millilitres milliliter milliliters",
    "l": "l litre litres liter liters",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "v": "v volt volts",
    "w": "w watt watts",
    "a": "a amp amps ampere amperes",
    "hz": "hz hertz",
    "bar": "bar bars",
}
