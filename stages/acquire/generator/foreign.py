"""Small embedded grammars of other languages, for the documents and paragraphs planted in them.

Each grammar is a handful of noun phrases, verbs and adverbials that go together in any choice, so
that sentences are well formed without agreement rules: enough for a language identifier to know the
language by its words and letters. Written from general knowledge.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Grammar:
    """Subjects (third person singular), transitive verbs, objects, places, openings, joints."""

    subjects: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    places: tuple[str, ...]
    openings: tuple[str, ...]
    joints: tuple[str, ...]


def _grammar(*parts: str) -> Grammar:
    return Grammar(*(tuple(part.strip() for part in text.split("|")) for text in parts))


GRAMMARS = {
    "af": _grammar(
        "die ou man|my buurvrou|die jong onderwyser|hierdie kind|die boer van die dorp|"
        "elke student",
        "lees|koop|sien|verkoop|onthou|soek|verstaan",
        "die lang brief|'n nuwe boek|die groot huis|'n ou foto|die swaar werk|hulle antwoord",
        "in die stad|by die rivier|langs die pad|op die plaas|in ons skool",
        "vandag|gewoonlik|elke oggend|dikwels|sonder twyfel", "en daarna|maar|want",
    ),
    "cy": _grammar(
        "yr hen ddyn|y ferch ifanc|yr athro newydd|y plentyn bach|pob myfyriwr|y ffermwr",
        "yn darllen|yn prynu|yn gweld|yn gwerthu|yn cofio|yn deall",
        "y llyfr newydd|y llythyr hir|tŷ mawr|hen lun|gwaith caled|yr ateb cywir",
        "yn y dref|wrth yr afon|ar y fferm|yn ein hysgol|ger y môr",
        "heddiw mae|fel arfer mae|bob bore mae|yn aml mae", "ac mae|ond mae|achos mae",
    ),
    "de": _grammar(
        "der alte Mann|die junge Lehrerin|unser Nachbar|das kleine Kind|jeder Student|"
        "meine Schwester",
        "liest|kauft|sieht|verkauft|sucht|versteht|beschreibt",
        "das neue Buch|einen langen Brief|die große Stadt|ein altes Bild|die schwere Arbeit|"
        "ihre Antwort",
        "in der Stadt|an dem Fluss|auf dem Land|vor der Schule|bei den Großeltern",
        "natürlich|heute Morgen|manchmal|nach dem Essen|ohne Zweifel", "und dann|aber|denn",
    ),
    "en": _grammar(
        "the old man|a young teacher|our neighbor|the little child|every student|her brother",
        "reads|buys|sees|sells|remembers|understands|describes",
        "the new book|a long letter|the large house|an old picture|this hard work|their answer",
        "in the city|by the river|near the school|on the farm|with his friends",
        "sometimes|every morning|of course|after dinner|without any doubt", "and then|but|because",
    ),
    "es": _grammar(
        "el viejo profesor|la mujer joven|nuestro vecino|el niño pequeño|cada estudiante|"
        "mi hermana",
        "lee|compra|mira|vende|recuerda|busca|describe",
        "el libro nuevo|una carta larga|la casa grande|un cuadro antiguo|el trabajo duro|"
        "su respuesta",
        "en la ciudad|junto al río|cerca de la escuela|en el campo|con sus amigos",
        "hoy|por la mañana|a veces|después de comer|sin ninguna duda", "y después|pero|porque",
    ),
    "fr": _grammar(
        "le vieil homme|la jeune femme|notre voisin|le petit enfant|chaque étudiant|ma sœur",
        "lit|achète|regarde|vend|cherche|comprend|décrit",
        "le nouveau livre|une longue lettre|la grande maison|un ancien tableau|ce dur travail|"
        "leur réponse",
        "dans la ville|près de la rivière|devant l'école|à la campagne|avec ses amis",
        "aujourd'hui|chaque matin|parfois|après le dîner|sans aucun doute", "et puis|mais|"
        "parce que",
    ),
    "it": _grammar(
        "il vecchio professore|la giovane donna|il nostro vicino|il bambino piccolo|ogni studente",
        "legge|compra|guarda|vende|ricorda|cerca|descrive",
        "il libro nuovo|una lunga lettera|la grande casa|un quadro antico|il lavoro duro|"
        "la risposta",
        "nella città|vicino al fiume|davanti alla scuola|in campagna|con gli amici",
        "oggi|ogni mattina|a volte|dopo pranzo|senza alcun dubbio", "e poi|ma|perché",
    ),
    "mt": _grammar(
        "ir-raġel xiħ|it-tifla ż-żgħira|l-għalliem il-ġdid|il-ġar tagħna|kull student",
        "jaqra|jixtri|jara|ibigħ|jiftakar|ifittex|jifhem",
        "il-ktieb il-ġdid|ittra twila|id-dar il-kbira|stampa antika|ix-xogħol iebes|it-tweġiba",
        "fil-belt|ħdejn ix-xmara|quddiem l-iskola|fl-għalqa|mal-ħbieb tiegħu",
        "illum|kull filgħodu|xi kultant|wara l-ikel|bla dubju", "u mbagħad|imma|għax",
    ),
    "nl": _grammar(
        "de oude man|de jonge vrouw|onze buurman|het kleine kind|elke student|mijn zuster",
        "leest|koopt|ziet|verkoopt|zoekt|begrijpt|beschrijft",
        "het nieuwe boek|een lange brief|het grote huis|een oud schilderij|dit zware werk|"
        "hun antwoord",
        "in de stad|bij de rivier|voor de school|op het land|met zijn vrienden",
        "vandaag|elke ochtend|soms|na het eten|zonder twijfel", "en dan|maar|want",
    ),
    "pl": _grammar(
        "stary człowiek|młoda kobieta|nasz sąsiad|małe dziecko|każdy student|moja siostra",
        "czyta|kupuje|widzi|sprzedaje|pamięta|rozumie|opisuje",
        "nową książkę|długi list|duży dom|stary obraz|ciężką pracę|ich odpowiedź",
        "w mieście|nad rzeką|przed szkołą|na wsi|z przyjaciółmi",
        "dzisiaj|każdego ranka|czasami|po obiedzie|bez wątpienia", "a potem|ale|ponieważ",
    ),
    "pt": _grammar(
        "o velho professor|a mulher jovem|o nosso vizinho|a criança pequena|cada estudante|"
        "a minha irmã",
        "lê|compra|vê|vende|lembra|procura|descreve",
        "o livro novo|uma carta longa|a casa grande|um quadro antigo|o trabalho duro|a resposta",
        "na cidade|perto do rio|em frente à escola|no campo|com os seus amigos",
        "hoje|todas as manhãs|às vezes|depois do jantar|sem dúvida nenhuma", "e depois|mas|porque",
    ),
    "ru": _grammar(
        "старый учитель|молодая женщина|наш сосед|маленький ребёнок|каждый студент|моя сестра",
        "читает|покупает|видит|продаёт|помнит|понимает|описывает",
        "новую книгу|длинное письмо|большой дом|старую картину|трудную работу|их ответ",
        "в городе|у реки|перед школой|в деревне|с друзьями",
        "сегодня|каждое утро|иногда|после обеда|без сомнения", "а потом|но|потому что",
    ),
}  # fmt: skip


def sentence(grammar: Grammar, rng: random.Random) -> str:
    """Return one sentence."""

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.random() * len(options))]

    def part() -> str:
        place = f" {pick(grammar.places)}" if rng.random() < 0.6 else ""
        return f"{pick(grammar.subjects)} {pick(grammar.verbs)} {pick(grammar.objects)}{place}"

    text = part()
    if "mae" in grammar.openings[0] or rng.random() < 0.3:
        text = f"{pick(grammar.openings)} {text}"
    if rng.random() < 0.35:
        text = f"{text}, {pick(grammar.joints)} {part()}"
    return text[:1].upper() + text[1:] + "."


def paragraph(language: str, sentences: int, rng: random.Random) -> str:
    """Return some sentences of a language."""
    return " ".join(sentence(GRAMMARS[language], rng) for _ in range(sentences))
