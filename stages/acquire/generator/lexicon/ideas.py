"""Noun roots of ideas, events, institutions and qualities.

Same notation as `nouns`; `idea` is counted in English, `abstract` stands without an article.
"""

IDEAS: dict[tuple[str, str], str] = {
    ("idea", "mind"): """
ide idea; demand question; opini opinion; problem problem; kaŭz cause; cel goal; pens thought;
plan plan; respond answer; decid decision; propon proposal; konsil advice/pieces_of_advice;
sent feeling; dezir desire; rev dream; sonĝ dream; intenc intention; ekzempl example; sekret secret;
princip principle; konsci awareness/forms_of_awareness; emoci emotion; motiv motive; ŝerc joke;
mensog lie; promes promise; rezult result; efik effect; erar mistake;
ebl possibility; konklud conclusion;
hipotez hypothesis/hypotheses; teori theory; metod method; sistem system; koncept concept;
signif meaning; senc sense; aspekt aspect; vizi vision; fantazi fantasy; iluzi illusion;
miskompren misunderstanding; dub doubt; preĝ prayer; pek sin; mirakl miracle; kult cult;
religi religion; konfes confession; doktrin doctrine; dogm dogma; ideal ideal; moral moral/morals;
virt virtue; karakter character; temperament temperament; talent talent; kutim habit;
inklin inclination;
""",
    ("idea", "society"): """
nom name; afer matter; okaz event; parol speech; rajt right; dev duty; projekt project;
program program; milit war; revoluci revolution; elekt choice; diskut discussion; disput dispute;
reform reform; tradici tradition; mor custom; fest festival; lud game; konflikt conflict;
konkurs contest; kampanj campaign; vizit visit; invit invitation; renkont meeting;
festival festival; ceremoni ceremony; proces lawsuit; krim crime; pun punishment;
kondiĉ condition; regul rule; ordon order; dekret decree; protest protest; strik strike;
pet request; komplot plot; skandal scandal; kriz crisis/crises; alianc alliance; traktat treaty;
interes interest; rilat relation; rol role; pretend claim; privilegi privilege; ofend offence;
debat debate; kompromis compromise; barier barrier; obstakl obstacle; aventur adventure;
katastrof catastrophe; sort fate; danĝer danger; atak attack; batal battle; paŝ step; fuĝ flight;
rezist resistance/forms_of_resistance; misi mission; inspekt inspection; manifestaci demonstration;
""",
    ("idea", "science"): """
lingv language; fakt fact; esplor investigation; eksperiment experiment; studi study;
kurs course; ekzamen exam; nombr number; numer number; mezur measure; grad degree; form form;
part part; spec species/species; objekt object; fenomen phenomenon/phenomena; proced procedure;
procent percentage; struktur structure; model model; element element; funkci function;
test test; teknik technique; eksplik explanation; analiz analysis/analyses;
sintez synthesis/syntheses; evolu development; epidemi epidemic; febr fever;
malsan disease; kancer cancer; grip influenza/influenza; vund wound; operaci operation;
terapi therapy; diagnoz diagnosis/diagnoses; simptom symptom; inventaĵ invention;
kalkul calculation; dimensi dimension; proporci proportion; grup group; klas class;
seri series/series; tip type; nivel level; kategori category; versi version; kopi copy;
detal detail; tem topic; titol title; artikol article; referenc reference; cit quotation;
kvant quantity; kvalit quality;
""",
    ("idea", "work"): """
labor job; task task; prez price; pag payment; profit profit; kost cost; profesi profession;
salajr salary; negoc business; ŝuld debt; impost tax; karier career; buĝet budget;
produkt product; var commodity; ofert offer; rabat discount; aĉet purchase; vend sale;
kont account; rent income; kredit credit; aŭkci auction; firm firm; entrepren enterprise;
servic service; kvitanc receipt; kapital capital/capitals; akci share; premi prize;
konkur competition;
""",
    ("idea", "art"): """
stil style; art art; muzik music/kinds_of_music; danc dance; kolor color; son sound; rim rhyme;
ritm rhythm; vers verse; koncert concert; spektakl spectacle; ekspozici exhibition;
literatur literature; rakont story; ton tone; verk work; prelud prelude; ĝenr genre;
intrig intrigue; epizod episode; metafor metaphor; proverb proverb; enigm riddle;
kritik criticism; eldon edition; desegn drawing; skiz sketch;
""",
    ("group", "society"): """
famili family; popol people; naci nation; societ society; registar government; parti party;
arme army; komitat committee; komisi commission; asoci association; organiz organization;
lig league; federaci federation; polic police_force; regn state; ŝtat state; respublik republic;
gent tribe; trib tribe; amas crowd; band gang; skip team; delegaci delegation; senat senate;
instituci institution; fondaĵ foundation; unuiĝ union; sindikat trade_union; imperi empire;
monarki monarchy; administraci administration; eklezi church; sekt sect; orkestr orchestra;
ĥor choir; koncern concern; kooperativ cooperative; korpus corps/corps; eskort escort; trup troop;
batalion battalion; regiment regiment;
""",
    ("abstract", "mind"): """
viv life; mort death; am love; ĝoj joy; pac peace; tim fear; esper hope; koler anger;
malĝoj sadness; feliĉ happiness; kuraĝ courage; dolor pain; prudent good_sense; memor memory;
atent attention; pacienc patience; envi envy; honor honor; glor glory; hont shame; ĵaluz jealousy;
kompat pity; konfid confidence; fid faith; konscienc conscience; respekt respect; plezur pleasure;
enu boredom; entuziasm enthusiasm; humor mood; vol will; rid laugh; spirit spirit; anim soul;
amuz amusement; pasi passion; melankoli melancholy; nostalgi nostalgia; terur terror;
sci knowledge; intelekt intellect; instinkt instinct; energi energy; ambici ambition;
dank gratitude;
""",
    ("abstract", "society"): """
demokrati democracy; politik politics; potenc power; ord order; histori history; kultur culture;
eduk education; help help; progres progress; civilizaci civilization; komunik communication;
turism tourism; sport sport; ŝak chess; kapitalism capitalism; socialism socialism;
komunism communism; liberalism liberalism; anarki anarchy; ekonomi economy; industri industry;
komerc trade; agrikultur agriculture; trafik traffic; transport transport; propagand propaganda;
perfort violence; teror terror; korupt corruption;
""",
    ("abstract", "science"): """
scienc science; fizik physics; kemi chemistry; matematik mathematics; biologi biology;
filozofi philosophy; psikologi psychology; geografi geography; astronomi astronomy;
lingvistik linguistics; elektr electricity; temperatur temperature; pez weight; natur nature;
spac space; materi matter; geometri geometry; algebr algebra; teknologi technology;
informadik computer_science; ekologi ecology; genetik genetics; sociologi sociology;
statik statics; mekanik mechanics; optik optics; akustik acoustics; anatomi anatomy;
botanik botany; zoologi zoology; geologi geology; etik ethics; estetik aesthetics;
pedagogi pedagogy; arkeologi archaeology; teologi theology; gravit gravity; inerci inertia;
""",
}
