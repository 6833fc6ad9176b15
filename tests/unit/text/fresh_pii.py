"""A second labelled set, written after the rules and in other patterns: forms, chats, minutes, letters, logs.

No name was taken from a list. The rules were mended with FIRST and SECOND in view; THIRD was written
afterwards, and nothing was changed for it: its figures are what to expect of other texts.
"""

FIRST = """
Teilnehmende: {NAME:Henrike Vossmann}, {NAME:Oğuzhan Karaca} und {NAME:Detlef Priebe}.
gez. {NAME:Roswitha Kallmeyer}
Von: {NAME:Tjark Petersen} <{EMAIL:t.petersen@nordlicht-bau.example.de}>
Kundin {NAME:Ilse Grabowski} möchte ihren Termin verschieben.
Patient: {NAME:Szymon Nowicki}, geboren 1984, Überweisung liegt vor.
Name: {NAME:Marlene Achterberg}
Vorname / Nachname: {NAME:Kemal Yüksel}
Ansprechpartnerin ist {NAME:Birgit Sommerfeld}, erreichbar ab neun.
Hallo {NAME:Jürgen}, kannst du das bitte prüfen?
Liebe {NAME:Svenja}, danke für die schnelle Antwort!
Viele Grüße\\n{NAME:Tina}
Sehr geehrte Frau {NAME:Prof. Dr. Lindqvist}, anbei die Unterlagen.
Sehr geehrter Herr {NAME:Abdelkader}, Ihre Anfrage ist eingegangen.
Zeugin {NAME:Ottilie Brandstetter} sagte, sie habe nichts gesehen.
Das Ticket wurde von {NAME:Malte Ohlsen} an {NAME:Chiara Esposito} übergeben.
Die Wohnung gehört {NAME:Hans-Peter Kowalke} und seiner Frau {NAME:Gerlinde}.
Bestellt hat {NAME:Nguyen Thi Lan}, bezahlt hat ihr Mann.
Rückfragen an {NAME:Friederike Uhl}, Durchwahl {PHONE:+49 89 2180-3456}.
Meine Nummer: {PHONE:0049 30 901820}
Mobil {PHONE:0176/48291034}, abends bitte.
Österreichisches Handy: {PHONE:+43 664 1234567}
Wien: {PHONE:01 / 533 96 90}, bitte vormittags anrufen.
Zürich {PHONE:044 668 18 00} ist die Zentrale.
Fax {PHONE:(0221) 47 11 08 15} geht auch.
whatsapp an {PHONE:01725551234} reicht
schreib mir an {EMAIL:mia_87+shop@posteo.example.de}
Kontakt: {EMAIL:info(at)schreinerei-huber.de}
Mail bitte an {EMAIL:vorstand [at] gartenfreunde [dot] org}.
{EMAIL:Chef@Backstube-Weiss.example.com} hat nie geantwortet.
Überweisung auf {IBAN:AT61 1904 3002 3457 3201} bis Freitag
Schweizer Konto {IBAN:CH93 0076 2011 6238 5295 7}
iban {IBAN:de89370400440532013000} stimmt die?
Abbuchung von {IBAN:NL91ABNA0417164300} fehlgeschlagen
Karte {CARD:4242-4242-4242-4242}, gültig bis 04/29
Amex {CARD:3782 822463 10005} wurde abgelehnt
Mastercard Nr. {CARD:5105105105105100}
IdNr. {TAX_ID:65929970489} steht auf dem Bescheid
Steuerliche Identifikationsnummer: {TAX_ID:57 549 285 017}
Sozialversicherungsnummer {SOCIAL_SECURITY:65180539W001}
AHV-Nummer {SOCIAL_SECURITY:756.9217.0769.85} bitte eintragen
SVNR {SOCIAL_SECURITY:1237 010180} (Österreich)
wohnhaft in {ADDRESS:Hauptstraße 12/3, 1010 Wien}
Anschrift: {ADDRESS:Straße des 17. Juni 135, 10623 Berlin}
Abholung bei {ADDRESS:An den Eichen 4}, klingeln bei Meier.
Firmensitz {ADDRESS:Bahnhofplatz 1, CH-8001 Zürich}
Sie zog von der {ADDRESS:Brunnengasse 7b} in die {ADDRESS:Königsallee 58}.
Lieferadresse {ADDRESS:Postfach 12 34, 60311 Frankfurt}
Ich wohne {ADDRESS:Zum Mühlenbach 21} im Erdgeschoss.
{ADDRESS:Mozartstrasse 33, 8002 Zürich}
Attendees: {NAME:Ngozi Adeyemi}, {NAME:Piotr Zielinski} and {NAME:Hannah Whitcombe}.
From: {NAME:Callum Fairweather} <{EMAIL:callum.f@brightside.example.co.uk}>
Customer name: {NAME:Deborah Kessinger}
Patient {NAME:Lakshmi Venkataraman} was discharged on Tuesday.
Hi {NAME:Susan}, could you have a look at this?
Dear {NAME:Rajesh}, thank you for your patience.
Cheers,\\n{NAME:Tom}
Dear Ms {NAME:Oyelaran}, your claim has been approved.
The claimant, {NAME:Bartholomew Finch}, denies this.
Assigned to {NAME:Mei-Ling Hsu} by {NAME:Trevor Goodall}.
cc {NAME:Fiona MacAllister}
{NAME:Doe, Jonathan} - account closed
Witness statement of {NAME:Gwendolyn Pryce-Jones}
Please ask for {NAME:Carlos Mendoza} at the front desk.
Her husband {NAME:Emeka} collected the keys.
Call {PHONE:(415) 273-9164} after six
UK mobile {PHONE:07911 123456}
My cell is {PHONE:212-736-5000}.
text {PHONE:+44 20 7946 0018} or ring {PHONE:+1 650 253 0000}
email: {EMAIL:o'neil.k@example.ie}
reach me at {EMAIL:jane at example dot com}
IBAN {IBAN:GB29 NWBK 6016 1331 9268 19} please
wire it to {IBAN:FR1420041010050500013M02606}
card no {CARD:6011111111111117}
visa {CARD:4012 8888 8888 1881} declined
social: {SOCIAL_SECURITY:219-09-9999}
NI no. QQ123456C is a sample, {SOCIAL_SECURITY:JG103759A} is mine
living at {ADDRESS:17 Hanover Terrace, London NW1 4RJ}
Deliver to {ADDRESS:Flat 3, 42 Inverness Road}, second floor
Ship to {ADDRESS:P.O. Box 4471, Reno, NV 89505}
our office: {ADDRESS:350 Fifth Avenue, New York, NY 10118}
He moved from {ADDRESS:9 Pear Tree Close} to {ADDRESS:128b High Street}.
{ADDRESS:2200 N Lamar Blvd Apt 12, Austin, TX 78705}
"""

SECOND = """
Unterschrieben von {NAME:Waltraud Eickhoff} am 3. Mai in Kassel.
Der Vertragspartner {NAME:Anatol Rybakow} kündigt fristgerecht.
14:02 {NAME:Merle}: ist jemand noch im Büro?
Ich soll Grüße von {NAME:Hartmut Zobel} ausrichten.
In Vertretung {NAME:Nele Strothmann}, Abteilung Einkauf
Unsere Azubine {NAME:Jule Pfannenschmidt} übernimmt das.
{NAME:Wolfgangs} Laptop startet nicht mehr.
Empfangen: {NAME:C. Dombrowski}
Rechnung an Familie {NAME:Theilmann}, zahlbar sofort.
Anruf von {NAME:Kristof Habermehl}, bitte zurückrufen: {PHONE:+49 351 4960 123}
Ärztin: Dr. med. {NAME:Soraya Farahani}
Die Reklamation stammt von einer {NAME:Eva-Maria Lüders}.
Gutschrift für {NAME:Ewa Krawczyk}, Konto {IBAN:PL61109010140000071219812874}
{NAME:Bauer}, {NAME:Ludwig}: zwei Tage Urlaub genehmigt
Erreichbar unter {PHONE:06221-542380} oder {EMAIL:b.lueders@uni-beispiel.de}
Tel {PHONE:+41 44 668 18 00}, Handy {PHONE:+43-676-5551234}
Steuer-Identnummer {TAX_ID:12 345 678 911} bitte prüfen
Versicherungsnr.: {SOCIAL_SECURITY:12 190367 K 001}
umgezogen nach {ADDRESS:Rheinuferstr. 118, 50668 Köln}
Baustelle {ADDRESS:Alte Gasse 9-11}, Zufahrt hinten
Sie wohnen {ADDRESS:Am Kirchberg 2a} und zahlen per Rechnung.
Treffpunkt: {ADDRESS:Rathausplatz 3, 4020 Linz}
Filiale {ADDRESS:Große Bleichen 30}, zweiter Stock
Ablageort: {ADDRESS:Schillerpromenade 12, 12049 Berlin}
{NAME:Kwame Asante} wrote: please cancel everything.
Booked under the name {NAME:Delphine Marchetti} for two nights.
[10:44] {NAME:Zoe}: brb
This is {NAME:Harold} from accounts.
The driver was {NAME:Ismail Kaya}, the passenger {NAME:Ruth Ellery}.
Beneficiary: {NAME:Adaeze Obi}
Yours faithfully,\\n{NAME:Winifred Ashdown}
{NAME:Marcus}'s laptop was stolen.
Kind regards\n{NAME:Jo Brightwater}\nHead of Sales
Transferred to Prof. {NAME:Ekström} at noon.
Passenger name record: {NAME:OKAFOR/CHIDI MR}
Tell {NAME:Beatrix} that I said hello.
{NAME:Rosalind Thackeray}, 34, of Leeds, was the first caller.
Phone {PHONE:+1 (303) 499-7111}, fax {PHONE:303.499.7112}
Reach us on {PHONE:0161 496 0000} at any time
mail {EMAIL:first.last@sub.domain.example.co.uk} or {EMAIL:x_y-z@example.io}
paid with {CARD:3566 0020 2036 0505} yesterday
SSN {SOCIAL_SECURITY:078 05 1121} on file
his NINO is {SOCIAL_SECURITY:CE 43 21 98 B}
Our address is {ADDRESS:77 Massachusetts Avenue, Cambridge, MA 02139}
Return to {ADDRESS:Unit 4, 8 Foundry Lane, Bristol BS1 6TU}
she lives at {ADDRESS:31 Orchard Grove}
meet at {ADDRESS:1 Canada Square, London E14 5AB}
Post to {ADDRESS:PO Box 209, Leeds LS1 4AB}
The house, {ADDRESS:Rose Cottage, Mill Lane}, is empty.
"""

THIRD = """
Am Telefon war {NAME:Burkhard Töpfer}; er ruft am Nachmittag noch einmal an.
Die Küche hat {NAME:Ingeborg Maschke} bestellt, geliefert wird an {ADDRESS:Lärchenweg 40, 83607 Holzkirchen}.
Meldet euch bei {NAME:Enno Wiechert}, wenn ihr Schlüssel braucht.
{NAME:Pauline Osterkamp} hat gekündigt und möchte ihr Guthaben auf {IBAN:DE02 1203 0000 0000 2020 51}.
Das Rezept ist für {NAME:Mustafa Çelik}, Krankenkasse liegt vor.
Absender: {NAME:Lotte Hinrichsen}, {ADDRESS:Deichstraße 5, 25541 Brunsbüttel}
Hey {NAME:Finn}, hast du die Mail an {EMAIL:kasse@turnverein.example.de} gesehen?
Frau {NAME:Czerny} und Herr {NAME:Dal Pozzo} teilen sich die Stelle.
Mein Nachbar {NAME:Gernot} hat das Paket angenommen.
Notfallkontakt {NAME:Ulrike Stemmler}, {PHONE:0511 3008 127}
Hiermit bestätige ich, {NAME:Kornelius Baum}, den Empfang.
Die Anfrage von {NAME:Yusuf Öztürk} liegt seit Tagen.
Unser Büro ist in der {ADDRESS:Neuen Schönhauser Straße 16}, dritter Hof.
Bitte ändern: alt {ADDRESS:Ahornallee 3}, neu {ADDRESS:Im Winkel 8}.
Danke und bis bald, {NAME:Rieke}
Der Hausmeister {NAME:Slavko Petrović} kommt um acht.
Meine AHV lautet {SOCIAL_SECURITY:756.1234.5678.97}.
Ich bin {NAME:Theresa Wünsch} und habe eine Frage.
Maschine bedient von {NAME:K. Albrecht}, Schicht zwei
Steuer-ID {TAX_ID:26954371827}
{NAME:Leonard Ashby} from Norwich won the raffle.
I am {NAME:Harriet Pemberton}, the new tenant.
The nurse, {NAME:Olumide}, changed the bandage.
Refund {NAME:Siobhan Gallagher} in full, card {CARD:4000 0566 5566 5556}.
Invoice for {NAME:Takumi Endo}, {ADDRESS:5 Willow Court, Reading RG1 4PS}
Talk to {NAME:Esther} in payroll or dial {PHONE:+44 117 496 0123}.
Best,\\n{NAME:Padraig}
Ms. {NAME:Delacroix-Bell} signed twice.
The keys are with {NAME:Alfie} at {ADDRESS:63 Station Road}.
Loan approved for {NAME:Yetunde Bakare}; SSN {SOCIAL_SECURITY:212-45-6789}.
{NAME:Sven Lindgren} <{EMAIL:sven.l@fjord.example.no}> wrote on Friday:
Escalated by {NAME:Gareth Pugh} to {NAME:Noor Hussain}.
Photo credit: {NAME:Imogen Vale}
The plaintiff {NAME:Lucinda Harcourt} appeals.
Send flowers to {NAME:Nana Akua}, {ADDRESS:210 W Maple Street, Peoria, IL 61602}
"""

CLEAN = """
Hallo Team, wann kommt das nächste Update?
Liebe Kundinnen und Kunden, unser Laden bleibt am Montag zu.
Hallo zusammen, die Heizung im Besprechungsraum ist ausgefallen.
Hi there, my order arrived broken.
Dear Sir or Madam, I would like to complain.
Dear Customer Service, nobody answers.
Viele Grüße\\nIhr Kundenservice
Best regards\\nThe Support Team
Name: bitte eintragen
Patient: siehe Akte
Kunde möchte Rückruf
Von: Hamburg nach München
From: Berlin to Rome in two hours
Der Drucker Canon Pixma druckt nur noch blass.
Unser Partner Deutsche Bahn übernimmt die Fahrt.
Assigned to Level Two by Quality Control.
Bluetooth Kopfhörer Sony koppeln nicht mit dem Galaxy Tab.
Der Albert Einstein Weg ist gesperrt.
Im Juni 2023 kostete der Tarif 19 Euro.
Die Seriennummer lautet 4012 7788 1234.
Bestellung 65929970480 fehlt ein Teil.
Version 756.9217.0769 ist installiert.
Tracking 00340434161094042557 hängt in Köln.
Das Paket wiegt 12 Kilo und misst 30 x 40 x 50.
Am 12.03.2024 um 14:30 Uhr war die Leitung tot.
Fehlercode 0x80070057 erscheint beim Start.
The meeting is in Room 12 Main Building.
The hotel Four Seasons has 120 rooms.
Error 404 on Monday 12 Street View images.
ISBN 978-3-16-148410-0 is out of print.
GS1 code 4006381333931 is on the box.
Invoice 2024-000123 dated 3 May is still open.
The train leaves platform 9 at 10:45.
Samsung Galaxy and Apple Watch are supported.
Monday Morning meetings are moved to Tuesday Afternoon.
Microsoft Teams and Google Drive are blocked.
The Grand Canyon tour costs 45 dollars.
New York and San Francisco are out of stock.
Please press Start Menu and then Task View.
Ihr Passwort muss Groß und Kleinbuchstaben enthalten.
Gute Nacht und bis Morgen, sagte die Ansage.
Die Rote Beete und der Grüne Tee waren ausverkauft.
Rabatt für Schüler, Studenten und Rentner ab 65.
Zwei Stühle Modell Oslo und ein Tisch Modell Bergen.
Der Kunde Stadtwerke Kiel hat gekündigt.
Von Montag an gilt der Fahrplan Winter.
Zum Frühstück 3 Brötchen und ein Ei, bitte.
Im Zimmer 12 tropft der Hahn.
Am Gleis 4 hält der Zug nach Ulm.
Kontakt: siehe Impressum
Teilnehmer: maximal 12 Personen
Die Firma Bosch Siemens Hausgeräte liefert im Herbst.
Hallo Siri, wie wird das Wetter?
Liebe Grüße\nEuer Reparaturteam
Kollege Computer hat wieder alles verschluckt.
Der Film Herr der Ringe läuft um acht.
Das Modell Martin Guitar D-28 ist vergriffen.
Wir suchen einen Mitarbeiter für die Abteilung Einkauf.
Hi all, lunch is in Room 5 Court Building.
Dear Hiring Team, I am applying for the job.
The file was signed by Root Authority.
From Monday to Friday between 9 and 5.
Our customer Acme Tools needs 40 drills.
Play the song Black Velvet again.
Windows Server and Red Hat are both fine.
Version 12 Lake Superior fixes 3 bugs.
The patient portal is down, ask for Help Desk.
Take Exit 12 Mill Street bridge closed.
"""
