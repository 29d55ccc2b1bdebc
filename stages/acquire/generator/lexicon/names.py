"""Proper nouns of places, words of the calendar, peoples, and units: all with English.

No person is named anywhere in the generated text.
"""

COUNTRIES = """
Francio France; Germanio Germany; Italio Italy; Hispanio Spain; Usono the_United_States; Ĉinio
China; Japanio Japan; Rusio Russia; Pollando Poland; Britio Britain; Aŭstrio Austria; Brazilo
Brazil; Kanado Canada; Hungario Hungary; Svedio Sweden; Norvegio Norway; Danio Denmark; Finnlando
Finland; Portugalio Portugal; Grekio Greece; Turkio Turkey; Egiptio Egypt; Nederlando
the_Netherlands; Belgio Belgium; Svislando Switzerland; Ĉeĥio Czechia; Slovakio Slovakia; Rumanio
Romania; Bulgario Bulgaria; Serbio Serbia; Kroatio Croatia; Irlando Ireland; Skotlando Scotland;
Islando Iceland; Estonio Estonia; Latvio Latvia; Litovio Lithuania; Ukrainio Ukraine; Barato
India; Irano Iran; Irako Iraq; Israelo Israel; Meksiko Mexico; Argentino Argentina; Ĉilio Chile;
Peruo Peru; Kubo Cuba; Aŭstralio Australia; Koreio Korea; Vjetnamio Vietnam; Indonezio Indonesia;
Maroko Morocco; Kenjo Kenya; Niĝerio Nigeria; Hispanlando Spain; Ruslando Russia; Germanlando
Germany; Francujo France; Eŭropo Europe; Azio Asia; Afriko Africa; Ameriko America; Skandinavio
Scandinavia; Balkanio the_Balkans;
"""

CITIES = """
Parizo Paris; Londono London; Berlino Berlin; Romo Rome; Vieno Vienna; Varsovio Warsaw; Moskvo
Moscow; Prago Prague; Budapeŝto Budapest; Madrido Madrid; Lisbono Lisbon; Ateno Athens; Novjorko
New_York; Tokio Tokyo; Pekino Beijing; Bruselo Brussels; Amsterdamo Amsterdam; Kopenhago
Copenhagen; Stokholmo Stockholm; Oslo Oslo; Helsinko Helsinki; Dublino Dublin; Edinburgo
Edinburgh; Hamburgo Hamburg; Munkeno Munich; Kolonjo Cologne; Ĝenevo Geneva; Zuriko Zurich; Milano
Milan; Venecio Venice; Florenco Florence; Napolo Naples; Barcelono Barcelona; Marsejlo Marseille;
Liono Lyon; Krakovo Krakow; Gdansko Gdansk; Bjalistoko Bialystok; Vilno Vilnius; Rigo Riga; Talino
Tallinn; Kievo Kyiv; Bukareŝto Bucharest; Sofio Sofia; Beogrado Belgrade; Zagrebo Zagreb;
Istanbulo Istanbul; Kairo Cairo; Jerusalemo Jerusalem; Bostono Boston; Ĉikago Chicago; Havano
Havana; Roterdamo Rotterdam; Antverpeno Antwerp; Bulonjo Boulogne; Seulo Seoul; Ŝanhajo Shanghai;
Melburno Melbourne; Montrealo Montreal;
"""

WATERS = """
Rejno the_Rhine; Danubo the_Danube; Sejno the_Seine; Volgo the_Volga; Nilo the_Nile; Tamizo
the_Thames; Elbo the_Elbe; Vistulo the_Vistula; Alpoj the_Alps; Mediteraneo the_Mediterranean;
Balto the_Baltic; Atlantiko the_Atlantic; Pacifiko the_Pacific; Amazono the_Amazon; Kaŭkazo
the_Caucasus;
"""

MONTHS = """
januaro January; februaro February; marto March; aprilo April; majo May; junio June; julio July;
aŭgusto August; septembro September; oktobro October; novembro November; decembro December;
"""

WEEKDAYS = """
lundo Monday; mardo Tuesday; merkredo Wednesday; ĵaŭdo Thursday; vendredo Friday; sabato Saturday;
dimanĉo Sunday;
"""

PEOPLES = """
angl English; franc French; german German; ital Italian; hispan Spanish; rus Russian; pol Polish;
japan Japanese; ĉin Chinese; dan Danish; sved Swedish; norveg Norwegian; finn Finnish; hungar
Hungarian; portugal Portuguese; grek Greek; turk Turkish; arab Arabic; hebre Hebrew; latin Latin;
nederland Dutch; ĉeĥ Czech; slovak Slovak; bulgar Bulgarian; serb Serbian; kroat Croatian; ukrain
Ukrainian; irland Irish; kimr Welsh; malt Maltese; eŭrop European; uson American; pers Persian;
kore Korean; vjetnam Vietnamese;
"""

UNITS = """
kilogram kilogram; litr liter; metr meter; gram gram; tun ton; tas cup; glas glass; botel bottle;
sak sack; pec piece; amas heap; milion million; plimult majority; cent hundred; mil thousand;
kvant quantity; kilometr kilometer;
"""

NUMERALS = {
    "du": "two",
    "tri": "three",
    "kvar": "four",
    "kvin": "five",
    "ses": "six",
    "sep": "seven",
    "ok": "eight",
    "naŭ": "nine",
    "dek": "ten",
    "dek du": "twelve",
    "dek kvin": "fifteen",
    "dudek": "twenty",
    "tridek": "thirty",
    "kvardek": "forty",
    "kvindek": "fifty",
    "cent": "one hundred",
    "dudek kvin": "twenty-five",
    "ducent": "two hundred",
    "mil": "one thousand",
    "sesdek": "sixty",
    "tridek du": "thirty-two",
    "dek ses": "sixteen",
    "kvincent": "five hundred",
    "dek unu": "eleven",
    "sepdek": "seventy",
    "okdek": "eighty",
    "dumil": "two thousand",
    "cent dudek": "one hundred and twenty",
    "mil kvincent": "one thousand five hundred",
}

ORDINALS = {
    "unua": "first",
    "dua": "second",
    "tria": "third",
    "kvara": "fourth",
    "kvina": "fifth",
    "sesa": "sixth",
    "sepa": "seventh",
    "oka": "eighth",
    "naŭa": "ninth",
    "deka": "tenth",
    "lasta": "last",
    "sekva": "next",
    "dek-dua": "twelfth",
    "dudeka": "twentieth",
    "centa": "hundredth",
}

ROMAN = [
    "I",
    "II",
    "III",
    "IV",
    "V",
    "VI",
    "VII",
    "VIII",
    "IX",
    "X",
    "XI",
    "XII",
    "XV",
    "XIX",
    "XX",
]
