"""Verb roots with their English verbs.

`root base/past/participle` gives an irregular English verb; a particle follows as `look_at`.
The classes say what a verb can govern: `go` motion with a place, `act` nothing, `make` a thing,
`meet` a person, `treat` an idea, `eat` food, `say` a ke-clause, `give` a thing to a person,
`become` nothing (subject a thing), `want` an infinitive. The headword is root + i.
"""

VERBS: dict[tuple[str, str], str] = {
    ("go", "travel"): """
ir go/went/gone; ven come/came/come; vojaĝ travel; kur run/ran/run; promen stroll;
flug fly/flew/flown; alven arrive; reven return; forir leave/left/left; naĝ swim/swam/swum;
marŝ march; vag wander; rajd ride/rode/ridden; fuĝ flee/fled/fled; migr migrate;
ramp creep/crept/crept; galop gallop; patrol patrol; rapid hurry; vetur travel; grimp climb;
danc dance; salt jump; hast hurry; glit glide; enir enter; paŝ step;
""",
    ("act", "home"): """
labor work; dorm sleep/slept/slept; rid laugh; plor weep/wept/wept; viv live; mort die; lud play;
kant sing/sang/sung; sid sit/sat/sat; star stand/stood/stood; kuŝ lie/lay/lain; ripoz rest;
kontribu contribute; rest stay; loĝ live; parol speak/spoke/spoken; kri shout; ĝoj rejoice;
ag act; sufer suffer; pens think/thought/thought; rev dream; sonĝ dream; spir breathe; tus cough;
konversaci converse; tern sneeze; ronk snore; ĝem groan; babil chat; disput argue;
batal fight/fought/fought; pek sin; preĝ pray; ŝerc joke; rezist resist; protest protest;
fast fast; fum smoke; kuir cook; mensog lie; triumf triumph; trem tremble; ŝvit sweat;
hezit hesitate; esper hope; lern learn; flu flow; sukces succeed; reg rule; flirt flirt;
kaŭr squat; osced yawn;
""",
    ("make", "work"): """
far make/made/made; vid see/saw/seen; hav have/had/had; trov find/found/found; port carry;
aĉet buy/bought/bought; vend sell/sold/sold; pren take/took/taken; leg read/read/read;
skrib write/wrote/written; uz use; ŝanĝ change; montr show/showed/shown; serĉ seek/sought/sought;
lav wash; pag pay; ripar repair; konstru build/built/built; ferm close; perd lose/lost/lost;
ten hold/held/held; tuŝ touch; met put/put/put; tir pull; puŝ push; ĵet throw/threw/thrown;
lev lift; romp break/broke/broken; tranĉ cut/cut/cut; kolekt collect; pet request;
kaŝ hide/hid/hidden; ŝtel steal/stole/stolen; pentr paint; desegn draw/drew/drawn; kovr cover;
plen fill; pes weigh; mezur measure; kopi copy; pres print; ornam decorate; bezon need;
bat beat/beat/beaten; brul burn; hak chop; seg saw; kudr sew/sewed/sewn; teks weave/wove/woven;
plekt braid; fald fold; glu glue; lig tie; pak pack; stok stock; polur polish; frot rub;
verŝ shed/shed/shed; miks mix; turn turn; fleks bend/bent/bent; disŝir tear/tore/torn;
ŝir tear/tore/torn; ŝraŭb screw; martel hammer; fos dig/dug/dug; plant plant; rikolt harvest;
sem sow/sowed/sown; plug plow; falĉ mow/mowed/mown; kultiv cultivate; akir acquire; posed possess;
akcept accept; ricev receive; prunt borrow; lu rent; hered inherit; gajn win/won/won; ŝpar save;
prov try; manipul manipulate; fabrik manufacture; import import; eksport export; tond shear;
bind bind/bound/bound; skulpt carve; fotograf photograph; aranĝ arrange; ordig arrange; kroĉ hook;
pend hang/hung/hung; balanc balance; sku shake/shook/shaken; spegul mirror; ŝarĝ load;
inspekt inspect; eldon publish; sigel seal; stamp stamp;
""",
    ("meet", "society"): """
am love; help help; renkont meet/met/met; konsol comfort; salut greet; kon know/knew/known;
vizit visit; invit invite; dank thank; aŭskult listen_to; aŭd hear/heard/heard; rigard look_at;
demand ask; sekv follow; atend await; kis kiss; instru teach/taught/taught; eduk educate;
pun punish; kurac heal; venk defeat; bat beat/beat/beaten; mortig kill; atak attack;
defend defend; protekt protect; sav rescue; juĝ judge; akuz accuse; laŭd praise;
vek wake/woke/woken; ofend offend; mok mock; tromp deceive; tim fear; respekt respect;
estim esteem; admir admire; envi envy; kompat pity; interes interest; malam hate;
forges forget/forgot/forgotten; memor remember; gvid lead/led/led; nom name; kondukt conduct;
konduk lead/led/led; persekut persecute; instig incite; surpriz surprise; amuz amuse;
konvink convince; persvad persuade; subten support; imit imitate; dung hire; nutr nourish;
ador adore; adopt adopt; arest arrest; elekt elect; honor honor; kares caress; flat flatter;
insult insult; pardon pardon; riproĉ reproach; turment torment; tent tempt; ted bore; ĝen disturb;
serv serve; obe obey; super surpass; rekompenc reward; absolv absolve; ben bless; damn damn;
""",
    ("treat", "mind"): """
kompren understand/understood/understood; lern learn; trakt treat; stud study; diskut discuss;
analiz analyze; esplor investigate; eksplik explain; klarig explain; ŝat like; difin define;
kritik criticize; akcept accept; rifuz refuse; aprob approve; signif mean/meant/meant;
konsider consider; propon propose; decid decide; prezent present; deklar declare; solv solve;
kaŭz cause; evit avoid; bezon need; rilat concern; postul demand; defend defend; influ influence;
difekt damage; detru destroy; kre create; invent invent; respekt respect; organiz organize;
plan plan; realig implement; fin finish; komenc begin/began/begun; daŭrig continue;
prepar prepare; kontrol check; celebr celebrate; fest celebrate; observ observe;
konstat establish; prov try; eksperiment experiment; kalkul calculate; pruv prove; aplik apply;
traduk translate; interpret interpret; redakt edit; rakont tell/told/told; priskrib describe;
ced yield; toler tolerate; permes permit; malpermes forbid/forbade/forbidden; garanti guarantee;
reklam advertise; refut refute; konfes confess; ignor ignore; koncept conceive; percept perceive;
sent feel/felt/felt; ĝu enjoy; elten endure; sufer suffer; merit deserve;
rezign give_up/gave_up/given_up; neglekt neglect; plibonig improve; reform reform; adapt adapt;
akcel accelerate; atest attest; bedaŭr regret; cel aim_at; cit quote; konserv preserve;
spert experience; montr show/showed/shown;
""",
    ("eat", "food"): """
manĝ eat/ate/eaten; trink drink/drank/drunk; gust taste; kuir cook; bak bake; frit fry;
glut swallow; maĉ chew; kunport bring_along/brought_along/brought_along; aĉet buy/bought/bought;
vend sell/sold/sold; serv serve; bol boil; rost roast; digest digest; lek lick; suĉ suck;
mord bite/bit/bitten; mend order; disdon distribute;
""",
    ("say", "mind"): """
dir say/said/said; sci know/knew/known; pens think/thought/thought; kred believe;
vid see/saw/seen; opini think/thought/thought; asert assert; esper hope; aŭd hear/heard/heard;
rakont tell/told/told; skrib write/wrote/written; sent feel/felt/felt;
kompren understand/understood/understood; anonc announce; rimark notice; decid decide;
respond answer; montr show/showed/shown; klarig explain; deklar declare; dub doubt; tim fear;
promes promise; supoz suppose; konfes confess; pruv prove; forges forget/forgot/forgotten;
memor remember; konstat establish; raport report; imag imagine; konsci realize; diven guess;
konklud conclude; lern learn; not note; agnosk acknowledge; konfirm confirm; konsent agree;
ĵur swear/swore/sworn; insist insist; aldon add; prognoz forecast; substrek emphasize; avert warn;
postul demand; rev dream;
""",
    ("give", "society"): """
don give/gave/given; send send/sent/sent; montr show/showed/shown; alport bring/brought/brought;
vend sell/sold/sold; ofer offer; redon give_back/gave_back/given_back; pag pay; prezent present;
propon offer; promes promise; instru teach/taught/taught; liver deliver; donac donate;
prunt lend/lent/lent; transdon hand_over; konfid entrust; disdon distribute; leg read/read/read;
rekomend recommend; port carry; skrib write/wrote/written;
""",
    ("become", "nature"): """
okaz happen; kresk grow/grew/grown; fal fall/fell/fallen; bril shine/shone/shone; ekzist exist;
ŝanĝiĝ change; aper appear; malaper disappear; komenciĝ begin/began/begun; finiĝ end_up;
daŭr last; funkci function; brul burn; flor bloom; pend hang/hung/hung; son sound; flos float;
rul roll; evolu evolve; fandiĝ melt; moviĝ move; turniĝ turn; ĉes cease; dron sink/sank/sunk;
eksplod explode; flagr flicker; velk wither; putr rot; rust rust; ŝvel swell/swelled/swollen;
odor smell; sonor ring/rang/rung; disfal collapse; ŝir tear; leviĝ rise/rose/risen; vibr vibrate;
ĝerm germinate; ekbril flash;
""",
    ("want", "mind"): """
vol want; dezir wish; prov try; esper hope; decid decide; promes promise;
komenc begin/began/begun; plan plan; ŝat like; prefer prefer; intenc intend; rifuz refuse;
forges forget/forgot/forgotten; kuraĝ dare; lern learn; bezon need; ĉes cease; hezit hesitate;
streb seek/sought/sought; pen try; aspir aspire; pretend claim;
""",
}

SPEAKING = """
dir opini rakont skrib anonc rimark respond klarig deklar promes konfes konklud raport insist
aldon substrek avert postul asert
"""
"""Verbs of `say` that direct speech may stand with."""
ASKING = """
sci vid aŭd rakont dir skrib kompren anonc rimark decid montr klarig forges memor raport imag
diven lern not sent prognoz
"""
"""Verbs of `say` that an indirect question (`kial`, `ĉu`) may follow."""
