"""Adjective roots with their English adjectives, and adverb roots.

The classes say what an adjective fits: `any`, `person` (also animals and groups), `thing`
(things, places and substances), `idea` (ideas and abstract things). The headword is root + a.
"""

ADJECTIVES: dict[tuple[str, str], str] = {
    ("any", "mind"): """
bon good; ali other; grand big; nov new; bel beautiful; fort strong; ver true; jun young;
fam famous; simpl simple; grav important; konat known; proksim near; ĉef main; propr own;
sam same; tut whole;
kar dear; ordinar ordinary; special special; divers various; strang strange; normal normal;
modern modern; natur natural; efektiv actual; fremd foreign; komun common; publik public;
privat private; ĝeneral general; util useful; perfekt perfect; rar rare; interes interesting;
terur terrible; grandioz grandiose; ideal ideal; tip typical;
""",
    ("person", "society"): """
feliĉ happy; riĉ rich; saĝ wise; san healthy; liber free; ĝoj joyful; koler angry; kuraĝ brave;
fier proud; afabl kind; ĝentil polite; gaj cheerful; lac tired; sol single; malsat hungry;
diligent diligent; honest honest; fidel faithful; prudent prudent; modest modest; sincer sincere;
stult stupid; lert clever; blind blind; surd deaf; mut mute; lam lame; kalv bald; nobl noble;
pi pious; sever severe; mild mild; ĵaluz jealous; avid greedy; avar stingy; kruel cruel;
sobr sober; ebri drunk; scivol curious; pacienc patient; inteligent intelligent; timem timid;
naiv innocent; serioz serious; trankvil calm; energi energetic; ĉarm charming; nervoz nervous;
furioz furious; popular popular; aktiv active; pasiv passive; obstin stubborn;
kompetent competent; pigr lazy; senkulp innocent; kulp guilty; vigl alert; pal pale; dik fat;
svelt slender; nud naked; original original; talent talented; amuz funny; kontent content;
agresem aggressive; van vain; fanatik fanatical; humil humble; lojal loyal; brav brave;
galant gallant; cinik cynical; frivol frivolous; melankoli gloomy; perfid treacherous;
snob snobbish; decid resolute; rezolut resolute; impertinent impertinent;
""",
    ("thing", "home"): """
blank white; nigr black; ruĝ red; blu blue; verd green; flav yellow; brun brown; griz gray;
larĝ broad; long long; alt high; profund deep; varm warm; sek dry; pur clean; plen full;
dolĉ sweet; pez heavy; rond round; mol soft; dur hard; akr sharp; rapid fast; rekt straight;
vast vast; hel bright; malnov old; antikv ancient; glat smooth; maldik thin; kurb curved;
plat flat; dens dense; akv watery; lign wooden; fer iron; or golden; arĝent silver; ŝton stone;
vitr glass; silk silken; lan wool; elektr electric; mekanik mechanical; acid sour; amar bitter;
sal salty; matur ripe; krud raw; bril brilliant; travidebl transparent; viol violet; roz pink;
oranĝ orange; purpur purple; kvadrat square; triangul triangular; vertikal vertical;
horizontal horizontal; krut steep; kav hollow; delikat delicate; luks luxurious; kompakt compact;
putr rotten; ŝlim slimy; stabil stable; fragil fragile; likv liquid; solid solid; gas gaseous;
""",
    ("idea", "science"): """
neces necessary; ebl possible; klar clear; facil easy; just just; preciz precise;
politik political; naci national; internaci international; kultur cultural; lingv linguistic;
scienc scientific; ekonomi economic; social social; teknik technical; histori historical;
moral moral; religi religious; literatur literary; oficial official; lok local;
universal universal; kompleks complex; komplik complicated; evident evident; konkret concrete;
abstrakt abstract; absolut absolute; relativ relative; centr central; konstant constant;
definitiv definitive; danĝer dangerous; sekret secret; cert certain; fundament fundamental;
esenc essential; baz basic; total total; pozitiv positive; negativ negative; logik logical;
raci rational; kristan Christian; demokrati democratic; ĵus recent; aktual current;
tradici traditional; popol popular; leĝ legal; milit military; industri industrial;
praktik practical; teori theoretical; muzik musical; art artistic; etik ethical; neŭtral neutral;
efik effective; formal formal; ident identical; simil similar; egal equal; absurd absurd;
ambigu ambiguous; arbitr arbitrary; aŭtentik authentic; aŭtonom autonomous; banal banal;
kritik critical; klasik classical; paralel parallel; radikal radical; redund redundant;
superflu superfluous; tragedi tragic; urĝ urgent; valid valid;
""",
}

ADVERBS: dict[tuple[str, str], str] = {
    ("time", "time"): """
nun now; jam already; hodiaŭ today; hieraŭ yesterday; morgaŭ tomorrow; ankoraŭ still; ĉiam always;
neniam never; iam sometime; baldaŭ soon; ĵus just;
""",
    ("degree", "mind"): """
tre very; tro too; tute completely; preskaŭ almost; sufiĉe rather; iom somewhat;
""",
    ("sentence", "mind"): """
tamen however; eble perhaps; ankaŭ also; eĉ even; nur only; do therefore; certe certainly;
verŝajne probably; ofte often; kutime usually; fine finally; subite suddenly; bedaŭrinde
unfortunately; feliĉe fortunately;
""",
}
