"""Closed classes: prepositions, adverbs, conjunctions and frames of time, with their English.

Tags follow UD Esperanto-Prago: `ne` ADV, `ĉi` and `ajn` PART, `kiel` ADP before a noun.
"""

PREPOSITIONS: dict[str, list[tuple[str, str]]] = {
    "place": [
        ("en", "in"),
        ("sur", "on"),
        ("sub", "under"),
        ("apud", "beside"),
        ("ĉe", "at"),
        ("antaŭ", "in front of"),
        ("malantaŭ", "behind"),
        ("super", "above"),
        ("ĉirkaŭ", "around"),
        ("ekster", "outside"),
        ("en", "in"),
        ("en", "in"),
        ("trans", "across"),
        ("preter", "past"),
    ],
    "goal": [
        ("al", "to"),
        ("tra", "through"),
        ("el", "out of"),
        ("de", "from"),
        ("ĝis", "as far as"),
        ("al", "to"),
        ("laŭ", "along"),
        ("trans", "across"),
        ("kontraŭ", "against"),
        ("for de", "away from"),
    ],
    "person": [
        ("kun", "with"),
        ("por", "for"),
        ("sen", "without"),
        ("ĉe", "at the home of"),
        ("anstataŭ", "instead of"),
        ("krom", "besides"),
        ("kontraŭ", "against"),
        ("pri", "about"),
        ("inter", "among"),
    ],
    "thing": [
        ("per", "with"),
        ("per", "by means of"),
        ("sen", "without"),
        ("kun", "with"),
        ("pri", "about"),
        ("por", "for"),
        ("krom", "besides"),
        ("anstataŭ", "instead of"),
    ],
    "idea": [
        ("pri", "about"),
        ("pro", "because of"),
        ("malgraŭ", "in spite of"),
        ("laŭ", "according to"),
        ("por", "for"),
        ("post", "after"),
        ("dum", "during"),
        ("antaŭ", "before"),
        ("kontraŭ", "against"),
        ("sen", "without"),
        ("per", "by means of"),
        ("je", "at"),
    ],
}

MIDDLE_ADVERBS = {
    "ofte": "often", "jam": "already", "ankoraŭ": "still", "ĉiam": "always", "neniam": "never",
    "ankaŭ": "also", "nur": "only", "baldaŭ": "soon", "vere": "really", "certe": "certainly",
    "iam": "once", "eble": "perhaps", "verŝajne": "probably", "ĝenerale": "generally", "eĉ": "even",
    "preskaŭ": "almost", "plene": "fully", "tute": "completely", "kutime": "usually",
    "apenaŭ": "hardly",
    "subite": "suddenly", "denove": "again", "ĵus": "just", "neniel": "in no way", "iel": "somehow",
    "ial": "for some reason", "precipe": "especially", "ĉiel": "in every way",
    "almenaŭ": "at least",
    "finfine": "at last", "rare": "rarely", "simple": "simply", "volonte": "willingly",
    "ja": "indeed",
    "plej multe": "most of all", "konstante": "constantly", "kune": "together", "ĉefe": "mainly",
}  # fmt: skip

OPENING_ADVERBS = {
    "tamen": "however", "hodiaŭ": "today", "hieraŭ": "yesterday", "morgaŭ": "tomorrow",
    "nun": "now",
    "tiam": "then", "poste": "later", "fine": "finally", "tial": "therefore",
    "ekzemple": "for example",
    "sekve": "consequently", "bedaŭrinde": "unfortunately", "feliĉe": "fortunately",
    "matene": "in the morning",
    "vespere": "in the evening", "nokte": "at night", "unue": "first", "due": "secondly",
    "krome": "besides",
    "intertempe": "meanwhile", "tie": "there", "ĉi tie": "here", "ĉi-foje": "this time",
    "kelkfoje": "sometimes",
    "cetere": "moreover", "aliflanke": "on the other hand", "nature": "naturally",
    "ĉie": "everywhere",
    "foje": "at times", "origine": "originally", "efektive": "in fact", "nuntempe": "nowadays",
    "jene": "as follows",
}  # fmt: skip

CLOSING_ADVERBS = {
    "tie": "there", "ĉi tie": "here", "ĉie": "everywhere", "nenie": "nowhere", "ie": "somewhere",
    "hejme": "at home",
    "hodiaŭ": "today", "nun": "now", "kune": "together", "sole": "alone",
    "tro multe": "too much", "tre": "very much", "iomete": "a little", "denove": "again",
    "frue": "early",
    "malfrue": "late", "eksterlande": "abroad", "ĉiutage": "every day", "unufoje": "once",
    "duope": "in pairs",
    "laŭvole": "at will", "ie ajn": "anywhere", "iam ajn": "at any time", "reciproke": "mutually",
    "plu": "further",
}  # fmt: skip

SUBORDINATORS = {
    "ĉar": ("SCONJ", "because"), "kvankam": ("SCONJ", "although"), "kiam": ("ADV", "when"),
    "dum": ("SCONJ", "while"), "ĝis": ("SCONJ", "until"), "se": ("SCONJ", "if"),
    "kie": ("ADV", "where"),
    "kvazaŭ": ("SCONJ", "as if"), "apenaŭ": ("SCONJ", "as soon as"), "kiel": ("ADV", "as"),
    "tial, ke": ("SCONJ", "for the reason that"), "post kiam": ("SCONJ", "after"),
    "antaŭ ol": ("SCONJ", "before"), "tiel, ke": ("SCONJ", "so that"),
    "de kiam": ("SCONJ", "since"),
    "eĉ se": ("SCONJ", "even if"), "malgraŭ ke": ("SCONJ", "in spite of the fact that"),
}  # fmt: skip

TAGS = {
    "kaj": "CCONJ", "aŭ": "CCONJ", "sed": "CCONJ", "nek": "CCONJ", "ke": "SCONJ", "se": "SCONJ",
    "post": "ADP",
    "antaŭ": "ADP", "ol": "ADP", "de": "ADP", "malgraŭ": "ADP", "eĉ": "ADV", "kiam": "ADV",
    "tial": "ADV",
    "tiel": "ADV", "for": "ADV", "ĉi": "PART", "ajn": "PART", "plej": "ADV",
    "ĝis": "ADP",
    "dum": "ADP",
}  # fmt: skip
"""Tags of the words of fixed expressions; a word not here is an adverb."""
