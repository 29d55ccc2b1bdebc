"""Noun roots of things: artefacts, body parts, plants, food that is counted, units of time.

Same notation as `nouns`.
"""

THINGS: dict[tuple[str, str], str] = {
    ("thing", "home"): """
libr book; leter letter; tabl table; seĝ chair; lit bed; pord door; fenestr window; ŝlosil key;
lamp lamp; kandel candle; spegul mirror; horloĝ clock; ŝrank cupboard; kest box; sak bag;
korb basket; botel bottle; glas glass; tas cup; teler plate; kuler spoon; fork fork;
tranĉil knife/knives; pot pot; kaldron kettle; forn stove; sof sofa; tapiŝ carpet; kurten curtain;
kusen pillow; litkovril blanket; vest garment; ĉemiz shirt;
pantalon pair_of_trousers/pairs_of_trousers;
jup skirt; ŝtrump stocking; ŝu shoe; bot boot; ĉapel hat; ĉap cap; gant glove; kravat tie;
mantel cloak; palt overcoat; rob dress; zon belt; poŝ pocket; buton button; ombrel umbrella;
ring ring; ĉen chain; bros brush; tuk cloth; naztuk handkerchief; kudril needle; faden thread;
ŝnur string; bret shelf/shelves; benk bench; tirkest drawer; kofr suitcase; valiz suitcase;
balail broom; sitel bucket; kuv tub; kran tap; tub tube; fajfil whistle; pup doll; pilk ball;
ludil toy; vaz vase; barel barrel; bovl bowl; flakon flask; krad grating; lustr chandelier;
tualet toilet; duŝ shower; televid television; telefon telephone; ŝal shawl; veŝt waistcoat;
jak jacket; zip zipper; pantofl slipper; sandal sandal;
""",
    ("thing", "work"): """
maŝin machine; martel hammer; segil saw; hakil axe; najl nail; ŝraŭb screw; ŝpat spade;
fosil spade; fajlil file; rad wheel; motor engine; komputil computer; presil printer;
krajon pencil; plum pen; kajer notebook; dosier file; kalkulil calculator; gazet magazine;
ĵurnal newspaper; monuj purse; bilet ticket; mon money; moner coin; ĉek check; faktur invoice;
kontrakt contract; pak package; pumpil pump; instrument instrument; aparat apparatus; robot robot;
kabl cable; drat wire; stang pole; tabul board; brik brick; kahel tile; skatol box; vagon wagon;
turbin turbine; bobel bubble; hok hook; ankr anchor; vel sail; mast mast;
""",
    ("thing", "travel"): """
aŭtomobil automobile; trajn train; ŝip ship; boat boat; bicikl bicycle; aviadil airplane;
aŭtobus bus; ĉar cart; kaleŝ carriage; map map; vojaĝ journey; pasport passport; radar radar;
kompas compass; taksi taxi; kamion truck; motorcikl motorcycle; sled sled; raket rocket;
balon balloon; helikopter helicopter; metro metro; barĝ barge; flos raft; kanu canoe;
tornistr knapsack; bagaĝ luggage; sel saddle; brid bridle; glitil skate; ski ski;
""",
    ("thing", "art"): """
bild picture; kant song; statu statue; film film; poem poem; roman novel; fabel tale;
gitar guitar; violon violin; pian piano; flut flute; tambur drum; trumpet trumpet; harp harp;
orgen organ; sonoril bell; korn horn; disk disc; melodi melody; not note; scen scene; mask mask;
poŝtkart postcard; afiŝ poster; paĝ page; ĉapitr chapter; versaĵ verse; komedi comedy;
tragedi tragedy; oper opera; balad ballad; anekdot anecdote; legend legend; mit myth;
novel short_story; simfoni symphony; sonat sonata; himn anthem; mozaik mosaic; fresk fresco;
ikon icon; medal medal; ornam ornament;
""",
    ("thing", "society"): """
leĝ law; flag flag; glav sword; pafil gun; kanon cannon; sag arrow; lanc spear; bomb bomb;
ŝild shield; kron crown; tron throne; dokument document; protokol protocol; gazetar press;
poŝtmark stamp; standard banner; monument monument; barikad barricade; tank tank; pistol pistol;
fusil rifle; armil weapon; kugl bullet; kiras armor; ponard dagger; sabr saber;
manifest manifesto; statut statute; deklaraci declaration; petici petition; enket survey;
broŝur brochure; cirkuler circular;
""",
    ("thing", "science"): """
stel star; planed planet; lun moon; sun sun; teleskop telescope; mikroskop microscope; atom atom;
molekul molecule; ĉel cell; elektron electron; magnet magnet; satelit satellite; komet comet;
vortar dictionary; gramatik grammar; alfabet alphabet; kurb curve; lini line; cirkl circle;
kvadrat square; kub cube; sfer sphere; triangul triangle; punkt point; liter letter;
silab syllable; vort word; fraz sentence; verb verb; substantiv noun; adjektiv adjective;
akcent accent; prefiks prefix; sufiks suffix; radik root; term term; tez thesis/theses;
formul formula; diagram diagram; tabel table; skem scheme; katalog catalog;
enciklopedi encyclopedia; termometr thermometer; barometr barometer; lens lens; prism prism;
bakteri bacterium/bacteria; virus virus; gen gene; neŭron neuron; kromosom chromosome;
""",
    ("thing", "body"): """
man hand; okul eye; kap head; kor heart; pied foot/feet; brak arm; buŝ mouth; orel ear; naz nose;
har hair; dent tooth/teeth; lang tongue; fingr finger; vizaĝ face; gorĝ throat; kol neck;
ŝultr shoulder; dors back; brust chest; ventr belly; genu knee; krur leg; kubut elbow; pojn wrist;
haŭt skin; ost bone; muskol muscle; nerv nerve; cerb brain; stomak stomach/stomachs; pulm lung;
hepat liver; ren kidney; lip lip; vang cheek; frunt forehead; menton chin; barb beard;
brov eyebrow; palpebr eyelid; ung nail; kalkan heel; vejn vein; rip rib; spin spine; mam breast;
umbilik navel; makzel jaw; koks hip; femur thigh; tibi tibia; flugil wing; vost tail; bek beak;
naĝil fin; nest nest; larv larva/larvae; krest crest; trunk trunk;
""",
    ("thing", "nature"): """
arb tree; flor flower; plant plant; branĉ branch; sem seed; frukt fruit; roz rose; kverk oak;
pin pine; betul birch; fag beech; abi fir; salik willow; tili linden; ulm elm; popl poplar;
palm palm; tulip tulip; lili lily; viol violet; kamomil chamomile; dorn thorn; fung mushroom;
bulb bulb; bambu bamboo; kan reed; arbust bush; vit vine; urtik nettle; trifoli clover;
lekant daisy; kard thistle; papav poppy; narcis daffodil; orkide orchid; primol primrose;
jasmen jasmine; dali dahlia; kaŝtan chestnut; nuks nut; glan acorn; nub cloud; vent wind;
ŝtorm storm; fulm lightning/lightnings; tondr thunder/thunders; ond wave; gut drop; flam flame;
fajrer spark; perl pearl; konk shell; ĉielark rainbow; tertrem earthquake; uragan hurricane;
ciklon cyclone; ombr shadow; mineral mineral; diamant diamond; smerald emerald; ruben ruby;
meteor meteor;
""",
    ("thing", "food"): """
pom apple; pir pear; ĉeriz cherry; prun plum; persik peach; citron lemon; banan banana;
frag strawberry; framb raspberry; vinber grape; terpom potato/potatoes; tomat tomato/tomatoes;
karot carrot; cep onion; kukum cucumber; piz pea; fab bean; kuk cake; bombon sweet;
kolbas sausage; sandviĉ sandwich; ov egg; pasteĉ pie; tort tart; keks biscuit; omlet omelet;
melon melon; abrikot apricot; migdal almond; avel hazelnut; fig fig; daktil date; oliv olive;
ananas pineapple; mirtel blueberry; rib currant; kukurb pumpkin; asparag asparagus; lent lentil;
biskvit biscuit; bulk bun; pic pizza;
""",
    ("time", "time"): """
tag day; jar year; hor hour; semajn week; monat month; minut minute; sekund second; moment moment;
nokt night; maten morning; vesper evening; jarcent century; epok epoch/epochs; sezon season;
period period; somer summer; vintr winter; aŭtun autumn; printemp spring;
""",
}
