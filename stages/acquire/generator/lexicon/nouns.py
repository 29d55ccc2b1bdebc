"""Noun roots of persons, living things, places and substances, with one English gloss each.

A block is `(class, field) -> "root gloss; root gloss; ..."`, commonest first: the order is the rank
of the Zipf law. `gloss/plural` gives an irregular English plural and `_` stands for a space.
The headword is root + o. Written from general knowledge of the language.
"""

NOUNS: dict[tuple[str, str], str] = {
    ("person", "society"): """
hom human; vir man/men; knab boy; infan child/children; amik friend; person person/people;
membr member; najbar neighbor; gast guest; prezident president; reĝ king; ministr minister;
princ prince; oficir officer; soldat soldier; general general; kamarad comrade; rival rival;
sklav slave; graf count; baron baron; hero hero/heroes; herold herald; deputit deputy;
delegit delegate; advokat lawyer; bandit bandit; pirat pirate; spion spy; nobel noble;
kavalir knight; mastr master; klient client; patron patron; kolonel colonel; kapitan captain;
sultan sultan; car czar; diktator dictator; despot despot; vasal vassal; huligan hooligan;
nomad nomad; burĝ bourgeois/bourgeois;
""",
    ("person", "home"): """
patr father; frat brother; fil son; av grandfather; onkl uncle; nep grandson; edz husband;
kuz cousin; nev nephew; fianĉ fiancé; vidv widower; orf orphan; beb baby/babies; ĝemel twin;
parenc relative; bub brat; fraŭl bachelor; gard guard; servant servant; ermit hermit;
""",
    ("person", "science"): """
student student; profesor professor; doktor doctor; inĝenier engineer; filozof philosopher;
pedagog pedagogue; filolog philologist; geolog geologist; biolog biologist; astronom astronomer;
geograf geographer; lingvist linguist; ekspert expert; rektor rector; psikolog psychologist;
arkeolog archaeologist; lektor lecturer; aŭtoritat authority; teolog theologian;
""",
    ("person", "work"): """
agent agent; koleg colleague; ĉef chief; ŝofor driver; pilot pilot; direktor director;
kelner waiter; tajlor tailor; barbir barber; bankier banker; redaktor editor; kurier courier;
administrator administrator; inspektor inspector; sekretari secretary; majstr master;
kamerist cameraman/cameramen; trejnist trainer;
""",
    ("person", "art"): """
aŭtor author; poet poet; aktor actor; arkitekt architect; artist artist; komponist composer;
pianist pianist; klaŭn clown; virtuoz virtuoso; tenor tenor; bas bass; bard bard;
reĝisor director;
""",
    ("person", "mind"): """
pastr priest; anĝel angel; profet prophet; monaĥ monk; episkop bishop; pap pope; diabl devil;
apostol apostle; kristan Christian; demon demon; fantom phantom; idiot idiot; egoist egoist;
martir martyr; gigant giant; fe fairy; nan dwarf; mesi messiah; ateist atheist; optimist optimist;
pesimist pessimist; abat abbot; kardinal cardinal;
""",
    ("animal", "nature"): """
hund dog; kat cat; ĉeval horse; bird bird; fiŝ fish/fish; best animal; bov ox/oxen;
ŝaf sheep/sheep; pork pig; kok rooster; mus mouse/mice; serpent snake; leon lion; urs bear;
lup wolf/wolves; insekt insect; abel bee; muŝ fly; papili butterfly; formik ant; arane spider;
cerv deer/deer; vulp fox; lepor hare; kunikl rabbit; elefant elephant; tigr tiger; simi monkey;
azen donkey; kapr goat; anas duck; anser goose/geese; kolomb pigeon; agl eagle; korv raven;
strig owl; cikoni stork; cign swan; hirund swallow; paser sparrow; alaŭd lark;
najtingal nightingale; meleagr turkey; pav peacock; rat rat; talp mole; erinac hedgehog;
sciur squirrel; kastor beaver; lutr otter; lacert lizard; ran frog; buf toad; testud turtle;
krokodil crocodile; balen whale; delfen dolphin; fok seal; ŝark shark; salm salmon/salmon;
haring herring; trut trout/trout; angil eel; krab crab; kankr crayfish/crayfish; verm worm;
raŭp caterpillar; kul gnat; vesp wasp; skarab beetle; cim bug; pedik louse/lice; pul flea;
kamel camel; ĝiraf giraffe; zebr zebra; leopard leopard; hien hyena; gazel gazelle;
bizon bison/bison; mul mule; hamstr hamster; vespert bat; strut ostrich; pingven penguin;
mev seagull; falk falcon; vultur vulture; kukol cuckoo; peg woodpecker; turd thrush; fring finch;
kanari canary; gru crane; arde heron; papag parrot; monstr monster; drak dragon;
rinocer rhinoceros; hipopotam hippopotamus; panter panther;
""",
    ("place", "travel"): """
urb city; land country; lok place; voj road; strat street; vilaĝ village; region region;
insul island; pont bridge; haven harbor; hotel hotel; kvartal quarter; provinc province;
distrikt district; ŝose highway; tunel tunnel; kaj quay; bulvard boulevard; ale avenue;
trotuar sidewalk; kanal canal; kontinent continent; hal hall; metropol metropolis; pad path;
""",
    ("place", "home"): """
dom house; ĉambr room; ĝarden garden; kort court; kel cellar; salon drawing_room;
koridor corridor; ŝtup step; balkon balcony; teras terrace; tegment roof; mur wall; plank floor;
plafon ceiling; angul corner; kastel castle; kaban cabin; palac palace; tur tower; ban bath;
etaĝ storey; fundament foundation; barak barrack; tend tent; galeri gallery; ŝed shed;
garaĝ garage; stal stable; alkov alcove; vestibl vestibule; subtegment attic; kamen fireplace;
portal portal; piramid pyramid;
""",
    ("place", "work"): """
ofic office; fabrik factory; merkat market; butik shop; bank bank; uzin factory; farm farm;
bien estate; restoraci restaurant; hospital hospital; bazar bazaar; atelier workshop;
kantin canteen; kabinet cabinet; redakci editorial_office; kontor office; stok stock; kamp field;
kiosk kiosk; staci station; laboratori laboratory; apotek pharmacy;
""",
    ("place", "society"): """
teatr theater; muze museum; bibliotek library; parlament parliament; templ temple;
tribunal tribunal; akademi academy; kolegi college; klub club; katedral cathedral; kapel chapel;
stadion stadium; ambasad embassy; arkiv archive; kazern barracks/barracks; universitat university;
gimnazi high_school; institut institute; moske mosque; sinagog synagogue; cirk circus;
seminari seminar; observatori observatory;
""",
    ("place", "nature"): """
mar sea; mont mountain; river river; arbar forest; lag lake; val valley; dezert desert;
bord shore; ocean ocean; marĉ swamp; kavern cave; rok rock; vulkan volcano/volcanoes; golf gulf;
strand beach; delt delta; glaĉer glacier; fontan fountain; font source; put well; torent torrent;
step steppe; tundr tundra; ĝangal jungle; bosk grove; ravin ravine; oaz oasis/oases; fjord fjord;
lagun lagoon; rif reef; abism abyss; park park; kampar countryside;
""",
    ("mass", "food"): """
akv water; pan bread; viand meat; lakt milk; vin wine; te tea; kaf coffee; bier beer; sal salt;
suker sugar; ole oil; buter butter; fromaĝ cheese; riz rice; farun flour; miel honey; sup soup;
brand brandy; pipr pepper; vinagr vinegar; ĉokolad chocolate; mustard mustard; salat salad;
marmelad marmalade; ŝink ham; limonad lemonade; kaĉ porridge; krem cream; ŝaŭm foam; lard bacon;
makaroni macaroni; vodk vodka; rum rum; ajl garlic; cinam cinnamon; vanil vanilla; maiz corn;
tritik wheat; aven oats; sekal rye; spinac spinach; brasik cabbage; jogurt yogurt;
""",
    ("mass", "nature"): """
aer air; fajr fire; sabl sand; neĝ snow; pluv rain; glaci ice; or gold; arĝent silver; fer iron;
ŝton stone; lign wood; herb grass; lum light; fum smoke; polv dust; ŝlim slime; argil clay;
marmor marble; kupr copper; plumb lead; zink zinc; ŝtal steel; karb coal; petrol petroleum;
kalk lime; kret chalk; gips plaster; kristal crystal; sulfur sulfur; hidrogen hydrogen;
oksigen oxygen; nitrogen nitrogen; granit granite; gas gas; vapor steam; nebul fog; hajl hail;
ros dew; prujn frost; fojn hay; pajl straw; musk moss; sap soap; vaks wax; kaŭĉuk rubber;
sukcen amber; ebur ivory; bitum bitumen;
""",
    ("mass", "home"): """
vitr glass; paper paper; lan wool; koton cotton; silk silk; led leather; ink ink; ŝtof cloth;
drap cloth; lin flax; velur velvet; felt felt; pelt fur; fel fur; lak lacquer; farb paint;
glu glue; parfum perfume; medicin medicine; ceramik ceramics; porcelan porcelain; tabak tobacco;
pulv gunpowder; ciment cement; beton concrete; asfalt asphalt; karton cardboard; feĉ dregs;
sang blood; ŝvit sweat; karn flesh; venen poison; balzam balm;
""",
}
