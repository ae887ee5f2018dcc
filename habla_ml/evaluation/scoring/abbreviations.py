"""Spanish abbreviations and units of measurement with the words that they stand for.

Readings are separated by `;`, forms of one word by `|`.
"""

from __future__ import annotations

from typing import Final

from habla_ml.evaluation.scoring.readings import Span, parse_words
from habla_ml.evaluation.scoring.spanish_numerals import SPELLED_WORDS


def parse_readings(text: str) -> Span:
    """Return the readings of a text such as `por ciento; por cien`; an empty part is silence."""
    return tuple(parse_words(part) for part in text.split(";"))


ABBREVIATIONS: Final = {
    "sr": "señor",
    "sra": "señora",
    "srta": "señorita",
    "sres": "señores",
    "sras": "señoras",
    "srtas": "señoritas",
    "dr": "doctor",
    "dra": "doctora",
    "dres": "doctores",
    "dña": "doña",
    "dª": "doña",
    "ud": "usted",
    "vd": "usted",
    "uds": "ustedes",
    "vds": "ustedes",
    "profa": "profesora",
    "profª": "profesora",
    "etc": "etcétera",
    "pág": "página",
    "págs": "páginas",
    "núm": "número",
    "núms": "números",
    "nro": "número",
    "tfno": "teléfono",
    "tlf": "teléfono",
    "avda": "avenida",
    "pza": "plaza",
    "plza": "plaza",
    "aprox": "aproximadamente",
    "dpto": "departamento",
    "dcha": "derecha",
    "izqda": "izquierda",
    "vs": "versus; contra",
    "eeuu": "estados unidos",
    "mª": "maría",
}
"""With or without a full stop."""

DOTTED_ABBREVIATIONS: Final = {
    "prof": "profesor",
    "art": "artículo",
    "cap": "capítulo",
    "tel": "teléfono",
    "av": "avenida",
    "sto": "santo",
    "sta": "santa",
    "gral": "general",
    "máx": "máximo; máxima",
    "mín": "mínimo; mínima",
    "ej": "ejemplo; ejercicio",
    "vol": "volumen",
    "fig": "figura",
    "izq": "izquierda; izquierdo",
    "lic": "licenciado; licenciada",
    "admón": "administración",
    "num": "número",
    "pag": "página",
}
"""Only with a full stop; without it they are words or initials."""

UNITS: Final = {
    "km": "kilómetros|kilómetro",
    "hm": "hectómetros|hectómetro",
    "cm": "centímetros|centímetro",
    "kg": "kilos|kilogramos|kilo|kilogramo",
    "mg": "miligramos|miligramo",
    "ml": "mililitros|mililitro",
    "cl": "centilitros|centilitro",
    "dl": "decilitros|decilitro",
    "kw": "kilovatios|kilovatio",
    "kwh": "kilovatios|kilovatio hora",
    "hz": "hercios|hercio|hertzios|hertzio",
    "khz": "kilohercios|kilohercio",
    "mhz": "megahercios|megahercio",
    "ghz": "gigahercios|gigahercio",
    "kb": "kilobytes|kilobyte|kas|ka; ka be",
    "mb": "megas|mega|megabytes|megabyte; eme be",
    "gb": "gigas|giga|gigabytes|gigabyte; ge be",
    "tb": "teras|tera|terabytes|terabyte; te be",
    "kcal": "kilocalorías|kilocaloría|calorías",
    "db": "decibelios|decibelio",
    "km/h": "kilómetros|kilómetro por hora; kilómetros|kilómetro hora",
    "km/s": "kilómetros|kilómetro por segundo",
    "m/s": "metros|metro por segundo",
    "km²": "kilómetros|kilómetro cuadrados|cuadrado",
    "km2": "kilómetros|kilómetro cuadrados|cuadrado",
    "cm²": "centímetros|centímetro cuadrados|cuadrado",
    "cm2": "centímetros|centímetro cuadrados|cuadrado",
    "cm³": "centímetros|centímetro cúbicos|cúbico",
    "cm3": "centímetros|centímetro cúbicos|cúbico",
    "m²": "metros|metro cuadrados|cuadrado",
    "m³": "metros|metro cúbicos|cúbico",
}
"""Units that are no word or letter name; they are expanded wherever they are."""

UNITS_AFTER_DIGITS: Final = {
    "m": "metros|metro; eme",
    "m2": "metros|metro cuadrados|cuadrado",
    "m3": "metros|metro cúbicos|cúbico",
    "mm": "milímetros|milímetro",
    "g": "gramos|gramo; ge",
    "gr": "gramos|gramo",
    "grs": "gramos|gramo",
    "l": "litros|litro; ele",
    "h": "horas|hora; hache",
    "hs": "horas|hora",
    "hrs": "horas|hora",
    "min": "minutos|minuto",
    "mins": "minutos|minuto",
    "s": "segundos|segundo; ese",
    "seg": "segundos|segundo",
    "t": "toneladas|tonelada; te",
    "ha": "hectáreas|hectárea",
    "w": "vatios|vatio",
    "v": "voltios|voltio; uve",
    "kgs": "kilos|kilogramos|kilo|kilogramo",
    "kms": "kilómetros|kilómetro",
}
"""Units that may be another word or a letter: expanded after digits; after a number in words a further reading."""

CURRENCIES: Final = {
    "€": "euros|euro",
    "$": "dólares|dólar|pesos|peso",
    "£": "libras|libra",
    "¥": "yenes|yen",
}
CENTS: Final = {"€": "céntimos|céntimo", "$": "centavos|centavo", "£": "peniques|penique", "¥": "sen"}

_HALVED_NOUNS: Final = (
    "millones|millón horas|hora años|año meses|mes días|día semanas|semana minutos|minuto kilómetros|kilómetro "
    "metros|metro centímetros|centímetro litros|litro kilos|kilo gramos|gramo toneladas|tonelada euros|euro "
    "libras|libra puntos|punto grados|grado vueltas|vuelta veces|vez páginas|página"
)
NOUNS_WITH_HALVES: Final = {form: forms for forms in _HALVED_NOUNS.split() for form in forms.split("|")}
"""Nouns of "dos kilos y medio" for 2,5 kilos, with their singular and plural."""
FEMININE_NOUNS: Final = frozenset(
    ["horas", "semanas", "toneladas", "vueltas", "veces", "páginas", "libras", "hectáreas", "kilocalorías"]
)
"""Plurals of the nouns of "dos horas y media"."""


FORMS_BY_WORD: Final = frozenset([*ABBREVIATIONS, *UNITS, *UNITS_AFTER_DIGITS, *SPELLED_WORDS])
"""Words that have readings of their own, or may have."""
