"""Frequent words of the languages that the identifier tells apart, most frequent first.

Closed-class words and a few everyday content words each, written down by hand for this file. They
are all the identifier is trained on; a list may grow without any other change.
"""

from __future__ import annotations

WORDS: dict[str, str] = {
    "eo": """
        la kaj de en estas mi ne al ke li por pri vi sed kun ĝi kiu si oni ili ni tio el tiu ĉi
        estis ŝi kiel per se aŭ ĉu ĉar mia mian lia lian havas tre pli nur unu kio kiuj ĝis
        ankaŭ plej povas jam eĉ nun mem antaŭ post sur tie tiel ĉiu ĉiuj kiam do ol ĉe sub inter
        tra dum laŭ sen via ilia nia ŝia sia sian sin min vin lin ŝin nin ilin ĝin kie ĉio nenio
        neniam ĉiam iam iu iuj tiuj tion kion kiun kiujn tiam ĉirkaŭ kontraŭ preskaŭ almenaŭ
        apenaŭ hodiaŭ hieraŭ morgaŭ baldaŭ ankoraŭ kvazaŭ malgraŭ anstataŭ ja jes tamen ĉefe
        estos estus esti diris faris devas volas vidis venis iris havis scias donis respondis
        demandis jaro jaroj tago tagoj homo homoj viro virino infano infanoj patro patrino amiko
        amikoj domo urbo lando mondo lingvo libro vorto vortoj tempo vivo laboro akvo mano kapo
        bona bonan granda grandaj malgranda nova malnova bela longa juna alta tuta alia aliaj
        multe multaj kelkaj du tri kvar kvin dek cent mil tuj ofte iom bone rapide plu for ĵus
        ŝajnas ŝatas aĵo hundo kato
    """,
    "en": """
        the of and to a in is that he was it for on are as with his they i at be this have from
        or one had by but not what all were we when your can said there use an each which she do
        how their if will up other about out many then them these so some her would make like
        him into time has look two more go see no way could people my than been who its now find
        long down day did get come made may after back only me our most very where much before
        right too any same tell does because should well such here why again off went old every
        great think know little good new first last man woman child children house city country
        world work water life year years hand always never night under while found still between
        own thing things please thank you am yes they're don't it's
    """,
    "fr": """
        de la le et les des en un une du est que dans qui a pour pas au sur ne se plus ce par il
        je avec tout mais nous vous elle on sont ou son sa ses leur leurs été être avoir fait
        comme cette ces même si aux deux bien où sans peut aussi très était avait ont encore y
        lui moi toi mon ma mes ton ta tes notre votre nos vos quand donc entre après avant sous
        depuis toujours jamais rien quelque autre autres homme femme enfant enfants jour temps
        année ans monde vie maison ville pays eau main grand grande petit petite bon bonne
        nouveau beau premier faut dit voir faire aller venir veut j'ai c'est n'est d'un d'une
        l'on qu'il qu'elle parce ici là alors chez vers trop peu beaucoup oui non merci
    """,
    "de": """
        der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es
        an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen
        so zum war haben nur oder aber vor zur bis mehr durch man sein wurde sei ich du wir ihr
        mich mir dich dir uns euch ihm ihn ihnen mein dein kein keine dieser diese dieses wenn
        dann weil schon hier da wo was wer kann muss will soll immer wieder sehr viel viele alle
        alles nichts etwas jahr jahre tag zeit mann frau kind kinder haus stadt land welt leben
        wasser hand gut gute groß klein neu alt erste zwei drei gegen unter zwischen ohne seit
        während heute gestern morgen bitte danke ja nein machen gehen kommen sagt sagte ging
        hatte waren wäre könnte
    """,
    "es": """
        de la que el en y a los se del las un por con no una su para es al lo como más o pero
        sus le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue había
        era muy años hasta desde está mi porque qué sólo han yo hay vez puede todos así nos ni
        parte tiene él uno donde bien tiempo mismo ese ahora cada e vida otro después te otros
        aunque esa eso hace otra gobierno tan durante siempre día tanto ella tres sí dijo sido
        gran país según menos mundo año antes estado contra casa ciudad agua mano hombre mujer
        niño niños grande pequeño bueno nuevo quien nada nunca mucho muchos algo aquí allí usted
        nosotros ellos gracias hacer ir ver está estoy tengo quiero
    """,
    "it": """
        di e il la che in un a per è una sono non con i le si del da lo gli al della come più ma
        dei nel anche io mi ha alla se delle o suo sua ci cui questo questa dal hanno era essere
        due dalla ne tutto tutti nella degli loro quando molto fu stato quella quello dopo così
        ai sul sulla fatto anni perché prima ancora lei lui noi voi tra fra senza sempre mai
        niente cosa ogni altro altri altra anno giorno tempo vita mondo casa città paese acqua
        mano uomo donna bambino bambini grande piccolo buono nuovo bello primo dove qui già poi
        chi può deve fare andare vedere detto c'è dell'uomo un'altra l'altro nell'anno
        all'inizio oggi ieri domani grazie sì quindi però oppure ho hai abbiamo mio tuo nostro
        vostro
    """,
    "pt": """
        de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao
        ele das tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso
        ela entre era depois sem mesmo aos ter seus quem nas me esse eles estão você tinha foram
        essa num nem suas meu às minha têm numa pelos elas havia seja qual será nós tenho lhe
        deles essas esses este dele tu te vocês vos lhes meus minhas teu tua nosso nossa dela
        ano anos dia tempo vida mundo casa cidade país água mão homem mulher criança crianças
        grande pequeno bom boa novo dois três sempre nunca nada tudo coisa aqui ali onde porque
        então fazer ir ver disse obrigado sim amanhã hoje ontem são não
    """,
    "ro": """
        și de în la a cu pe un o nu este se din că mai sunt să pentru care au lui fi ce ca dar
        ai el ea ei cel cea cele prin fost sau după am are le i-a l-a s-a era foarte când când
        până fără acest această acesta aceasta acestei unei unui unor într-un într-o dintre
        între despre după doar numai tot toate toți aici acolo unde cum cine nimic niciodată
        mereu azi ieri mâine an ani zi timp viață lume casă oraș țară apă mână om femeie copil
        copii mare mic bun bună nou doi trei eu tu noi voi mea meu ta tău sa său noastre nostru
        vostru lor avea face merge vine vede spus zice trebuie poate vrea știu îmi îți își mi-a
        mă te ne vă da așa dacă deci însă către
    """,
    "ia": """
        le de e in a que un es pro non con su per illo como ille al se del on ha plus ab o sed
        mi me nos vos illes illa isto iste esser esseva habe habeva essera necun toto tote omne
        multe multo alcun alicun qual qui quando ubi proque quia si ma anque jam sempre nunquam
        nihil hic ibi hodie heri deman inter sin super sub ante post durante usque contra circa
        tote anno annos die tempore vita mundo casa urbe pais aqua mano homine femina infante
        infantes grande parve bon nove belle duo tres prime altere alteres face va vide dice
        debe pote vole nostre vostre lor tu te lo la desira lingua parola libro amico dicite
        facite assi tunc ergo solmente io tote cata
    """,
    "nl": """
        de van het een en in is dat op te zijn met voor niet aan er om ook die als dan maar bij
        of uit nog door naar heeft hij ik je we ze hun haar mijn jouw ons onze deze dit was werd
        worden wordt waren had hebben kan kunnen moet moeten zal zou over tot tegen onder tussen
        zonder sinds al alle alles niets iets veel meer zo hier daar waar wie wat hoe wanneer
        omdat want altijd nooit vandaag gisteren morgen jaar jaren dag tijd leven wereld huis
        stad land water hand man vrouw kind kinderen groot klein goed goede nieuw oud eerste
        twee drie zeer erg gaan komen zien maken zegt zei ging kwam mensen wij jullie zij hem
        mij u geen ja nee dank
    """,
    "af": """
        die van en in is het 'n nie dat op te met vir word aan wat om ook as dan maar by of uit
        nog deur na hy ek jy ons hulle sy haar my jou julle hierdie daardie was sal sou kan kon
        moet wees oor tot teen onder tussen sonder sedert al alle alles niks iets baie meer so
        hier daar waar wie hoe wanneer omdat want altyd nooit vandag gister môre jaar jare dag
        tyd lewe wêreld huis stad land water hand man vrou kind kinders groot klein goed goeie
        nuwe ou eerste twee drie gaan kom sien maak gesê gegaan mense nee ja dankie geen asook
        hê tog dit is daarom
    """,
    "pl": """
        w i na z się do nie to jest że o a od po jak za co dla przez ale tym ich był była było
        są tak już czy tylko jego jej może być ten ta te tego tej oraz także który która które
        których przed pod nad między bez gdy kiedy gdzie kto nic nigdy zawsze dziś wczoraj jutro
        rok lat dzień czas życie świat dom miasto kraj woda ręka człowiek kobieta mężczyzna
        dziecko dzieci duży mały dobry dobra nowy stary pierwszy dwa trzy ja ty on ona my wy oni
        mnie mi ci go mu jej nam wam im mój twój nasz wasz jeszcze bardzo więc jeśli żeby
        ponieważ lub albo można musi chce mówi powiedział zrobić iść widzi proszę dziękuję
        wszystko wszyscy każdy inny inne
    """,
    "ru": """
        и в не на я быть он с что а по это она этот к но они мы весь который из у свой вы за для
        от так о же ты все год человек один такой тот или если только его бы себя ещё другой
        когда уже как время наш до рука сказать был была было были её их ему ей им меня мне тебя
        тебе нас нам вас вам кто где там здесь потом после перед под над между без при через
        очень может можно надо нет да ничего никогда всегда сегодня вчера завтра день жизнь мир
        дом город страна вода мужчина женщина ребёнок дети большой маленький хороший новый
        старый первый два три мой твой ваш чтобы потому тоже даже ли чем этого этой том тем эти
    """,
    "cy": """
        y yr a i o yn ar am mae ei eu ac ond wedi gan fod bod nid oes oedd yw hyn hwn hon hynny
        gyda gydag at wrth er mwyn rhwng dros drwy trwy heb dan mewn fel pan lle pwy beth sut
        pam os neu na nac nad mi fi ti ef hi ni chi nhw fy dy ein eich iawn mwy llawer rhai pob
        holl popeth dim byth bob heddiw ddoe yfory blwyddyn flwyddyn diwrnod amser bywyd byd tŷ
        dinas gwlad dŵr llaw dyn menyw plentyn plant mawr fawr bach fach da dda newydd hen
        cyntaf dau tri roedd bydd byddai cael gael gwneud wneud mynd dod gweld dweud meddai
        eisiau gallu gall rhaid hefyd nawr yma yna acw eto dydd nos cymraeg cymru ddim dwi rydw
        rydym
    """,
    "mt": """
        il- li ta' u ma' fil- għal l- tal- minn kien fuq dan din huwa hija mhux jew biss wara
        qabel bejn mingħajr bħal bħala meta fejn min x'inhu kif għax għaliex imma iżda dawn dawk
        dak dik kienet kienu ikun tkun ikunu jkun hemm hawn jien int hu hi aħna intom huma
        tiegħu tagħha tagħhom tiegħi tagħna kollha kull xi ħafna aktar iktar anki ukoll dejjem
        qatt xejn illum ilbieraħ għada sena snin jum żmien ħajja dinja dar belt pajjiż ilma id
        raġel mara tifel tfal kbir żgħir tajjeb ġdid qadim ewwel tnejn tlieta qal qalet għandu
        għandha jista' trid għamel mar ġie ra lejn sa taħt jekk mill- bil- mal- għall- f'dan
    """,
}
