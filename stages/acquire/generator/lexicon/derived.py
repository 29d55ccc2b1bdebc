"""Words built with affixes or from two roots whose English is not the sum of their parts.

Same notation as `nouns`; the stem already holds the affix (`instruist` = instru + ist).
The regular derivations (mal-, re-, ek-, -et-, -eg-, -ad-, -ec-, -ebl-) are made by `vocabulary`.
"""

DERIVED_NOUNS: dict[tuple[str, str], str] = {
    ("person", "society"): """
virin woman/women; civitan citizen; juĝist judge; ŝtelist thief/thieves; policist police_officer;
reĝin queen; urbestr mayor; ŝtatestr head_of_state/heads_of_state; loĝant inhabitant;
anstataŭant deputy; samlandan compatriot; samidean fellow_thinker; malamik enemy;
murdint murderer; venkint winner; enloĝant resident; estr leader; an member; junul youngster;
maljunul old_man/old_men; riĉul rich_man/rich_men;
""",
    ("person", "home"): """
patrin mother; fratin sister; filin daughter; avin grandmother; onklin aunt; nepin granddaughter;
edzin wife/wives; knabin girl; amikin girlfriend; vidvin widow; gepatr parent; servistin maid;
""",
    ("person", "work"): """
laborist worker; instruist teacher; kuracist physician; komercist merchant; kuirist cook;
bakist baker; vendist seller; aĉetant buyer; fiŝist fisher; ĝardenist gardener; marist seaman;
paŝtist shepherd; kamparan peasant; lignaĵist carpenter; butikist shopkeeper; oficist clerk;
programist programmer; flegistin nurse; ĵurnalist journalist; gvidist guide; konstruist builder;
ĉasist hunter; dentist dentist;
""",
    ("person", "science"): """
lernant pupil; sciencist scientist; lernejan schoolchild/schoolchildren; esplorist researcher;
kemiist chemist; fizikist physicist; matematikist mathematician; esperantist Esperantist;
historiist historian; parolant speaker; lernejestr headmaster; tradukist translator;
inventint inventor; komencant beginner;
""",
    ("person", "art"): """
pentrist painter; kantist singer; verkist writer; muzikist musician; dancist dancer;
skulptist sculptor; legant reader; aŭskultant listener; spektant spectator; rakontist storyteller;
ludant player; ŝatant fan;
""",
    ("person", "mind"): """
stultul fool; saĝul wise_man/wise_men; sanktul saint; malsanul patient;
feliĉul lucky_person/lucky_people; kredant believer; blindul blind_person/blind_people;
karul darling; homaran member_of_humanity/members_of_humanity;
""",
    ("animal", "nature"): """
bovin cow; kokin hen; kokid chick; ĉevalin mare; katid kitten; hundid puppy/puppies; ŝafid lamb;
bovid calf/calves; birdet small_bird; leonin lioness;
""",
    ("place", "society"): """
lernej school; preĝej church; kinej cinema; malliberej prison; loĝej apartment; kuirej kitchen;
dormej dormitory; manĝej dining_room; banej bathroom; vendej store; trinkej bar;
laborej workplace; kunvenej meeting_place; flughaven airport; ĉefurb capital_city;
hejmland homeland; najbarland neighboring_country; urbet town; arbaret grove;
montar mountain_range; insular archipelago; stacidom railway_station; poŝtofic post_office;
lernoĉambr classroom; dormoĉambr bedroom; patruj fatherland; universitaturb university_town;
marbord coast;
""",
    ("thing", "home"): """
ŝlosilar bunch_of_keys/bunches_of_keys; monuj purse; kafuj coffee_can; inkuj inkwell;
vortar dictionary; arbar forest; skribotabl desk; manĝotabl dining_table; vaportrajn steam_train;
poŝhorloĝ pocket_watch; tagĵurnal daily_newspaper; skribmaŝin typewriter; fervoj railway;
ĉambret small_room; libret booklet; pordeg gate; domaĉ hovel; domet cottage; kombil comb;
tranĉil knife/knives; ludil toy; komputil computer; fotil camera; presil printer; flugil wing;
sidil seat; ilar set_of_tools/sets_of_tools; bildlibr picture_book; tornil screwdriver;
manĝil eating_utensil; friduj refrigerator; sukeruj sugar_bowl;
""",
    ("idea", "mind"): """
eltrovaĵ discovery; novaĵ piece_of_news/news; lernaĵ thing_learned/things_learned;
skribaĵ piece_of_writing/pieces_of_writing; diraĵ saying; eblec possibility;
necesec necessity/necessities; malfacilaĵ difficulty; malamikec hostility; parolad speech;
kunven meeting; interparol conversation; antaŭjuĝ prejudice; antaŭparol preface;
enkonduk introduction; bonfarad charity; respondec responsibility; malsukces failure;
malgajn loss; disvolviĝ development; evoluad development; malkovr discovery; klarig explanation;
progresig furtherance; kontribuaĵ contribution;
""",
    ("abstract", "mind"): """
amikec friendship; belec beauty; bonec goodness; egalec equality; liberec freedom; justec justice;
verec truth; sanec healthiness; saĝec wisdom; riĉec wealth; malriĉec poverty;
malfeliĉ unhappiness; malesper despair; malam hatred; neŭtralec neutrality; fratec brotherhood;
homec humanity; infanec childhood; junec youth; malsanec illness; gravec importance;
efikec efficiency; esperantism Esperantism; naciism nationalism; patriotism patriotism;
humanism humanism; realism realism; optimism optimism; komunikad communication; instruad teaching;
lernad learning; uzad use; pensad thinking; skribad writing; homar mankind;
""",
    ("group", "society"): """
loĝantar population; popolamas mass_of_the_people/masses_of_the_people;
laboristar working_class/working_classes; studentar student_body;
lernantar body_of_pupils/bodies_of_pupils; komunum community; plimult majority;
malplimult minority; movad movement; organizaĵ organization; estrar board; anar membership;
junular youth/youth; redakciar editorial_staff; familianar household;
""",
}

DERIVED_VERBS: dict[tuple[str, str], str] = {
    ("go", "travel"): """
reven return; forkur run_away/ran_away/run_away; elir go_out/went_out/gone_out;
forvetur drive_off/drove_off/driven_off; enven come_in/came_in/come_in;
alkur run_up/ran_up/run_up; trair pass_through;
""",
    ("act", "home"): """
ekdorm fall_asleep/fell_asleep/fallen_asleep; ekrid begin_to_laugh/began_to_laugh/begun_to_laugh;
vekiĝ wake_up/woke_up/woken_up; eksid sit_down/sat_down/sat_down; kunven assemble;
leviĝ rise/rose/risen; laciĝ get_tired/got_tired/gotten_tired; edziĝ marry;
naskiĝ arise/arose/arisen; ekplor burst_into_tears/burst_into_tears/burst_into_tears;
kunlabor cooperate; interkonsent agree; malesper despair; malsaniĝ fall_ill/fell_ill/fallen_ill;
""",
    ("make", "work"): """
malferm open; forĵet throw_away/threw_away/thrown_away; konstruig commission;
fortir pull_away; purig clean; varmig warm; plibonig improve; malplenig empty; renvers overturn;
rekonstru rebuild/rebuilt/rebuilt; kunmet put_together/put_together/put_together;
disdon distribute; enmet insert; elpren take_out/took_out/taken_out; ruĝig redden;
grandig enlarge; malgrandig reduce; forbrul burn_up; ellabor elaborate; uzad use;
starig set_up/set_up/set_up; forig remove;
""",
    ("meet", "society"): """
malhelp hinder; malestim despise; ekvid catch_sight_of/caught_sight_of/caught_sight_of;
liberig liberate; kuraĝig encourage; ĝojig delight; trankvilig calm; malĝojig sadden;
ĉirkaŭbrak hug; privilegi favor; kunlig connect; disig separate; unuig unite; timig frighten;
alparol address; priparol talk_about; konatig introduce; malŝat dislike;
""",
    ("treat", "mind"): """
pridiskut discuss; evoluig develop; antaŭvid foresee/foresaw/foreseen; malkovr discover;
disvastig spread/spread/spread; publikig publish; plifortig strengthen; malfacilig complicate;
komprenig make_clear/made_clear/made_clear; subfos undermine; kontraŭstar oppose;
pritaks evaluate; malaprob disapprove_of; reformul reformulate; klarig clarify; realig realize;
profundig deepen; prikalkul calculate;
""",
    ("become", "nature"): """
komenciĝ begin/began/begun; ŝanĝiĝ change; malfermiĝ open; fermiĝ close;
rompiĝ break/broke/broken; disvastiĝ spread/spread/spread; varmiĝ get_warm/got_warm/gotten_warm;
estiĝ arise/arose/arisen; vidiĝ appear; ruĝiĝ turn_red;
grandiĝ grow/grew/grown; malgrandiĝ shrink/shrank/shrunk;
plibeliĝ become_more_beautiful/became_more_beautiful/become_more_beautiful; evoluiĝ develop;
solviĝ get_solved/got_solved/gotten_solved;
""",
}

DERIVED_ADJECTIVES: dict[tuple[str, str], str] = {
    ("any", "mind"): """
malgrand small; malnov old; malbon bad; malbel ugly; malsam different; malfort weak;
nekonat unknown; malproksim distant; fremdland foreign; samspec similar; nekutim unusual;
hejm domestic; mondskal world-wide; tutmond world-wide; bonkvalit high-quality;
eksterordinar extraordinary; ĉiutag everyday; nunjar present-year;
""",
    ("person", "society"): """
maljun old; malriĉ poor; malsan ill; malfeliĉ unhappy; malĝoj sad; malsaĝ unwise;
kolerem irritable; amind lovable; laborem industrious; parolem talkative; bonkor kind-hearted;
malĝentil rude; malkuraĝ cowardly; lernem studious; respondec responsible; kredem credulous;
plurlingv multilingual; helpem helpful; timem fearful; senesper desperate; senkulp innocent;
senlac tireless; sendom homeless; forgesem forgetful; venĝem vindictive; esperplen hopeful;
""",
    ("thing", "home"): """
malalt low; mallarĝ narrow; mallong short; malvarm cold; malsek wet; malpur dirty; malplen empty;
malpez light; malmol hard; malhel dark; malrapid slow; malkar cheap; ruĝet reddish; bluet bluish;
manĝebl edible; videbl visible; portebl portable; duonplen half-full; multkolor many-colored;
varmeg hot; malvarmeg freezing; brileg dazzling; grandeg huge; senakv waterless;
ŝtonec stony;
""",
    ("idea", "science"): """
malfacil difficult; malgrav unimportant; maljust unjust; malsimpl complicated; neebl impossible;
necert uncertain; kredebl credible; komprenebl understandable; nekredebl incredible;
tutland nationwide; plurflank many-sided; internacilingv international-language; vivoplen lively;
memkomprenebl obvious; longdaŭr long-lasting; malpreciz imprecise; senutil useless;
senfin endless; senĉes incessant; ŝanĝebl changeable; neneces unnecessary; inform informative;
lernebl learnable; atingebl attainable; disputebl disputable;
""",
}
