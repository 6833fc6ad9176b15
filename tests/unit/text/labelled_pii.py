"""Sentences with their personal data marked as {KIND:…}, and sentences that only look as if they had some.

Written by hand for this test, in the manner of support tickets and mails; no name was taken from a list.
"""

MARKED = """
Guten Tag, mein Name ist {NAME:Jonas Brandt} und ich warte seit Montag auf mein Paket.
Bitte rufen Sie Frau {NAME:Yıldız} unter {PHONE:0151 23456789} zurück.
Herr Dr. {NAME:Matthias Oberländer} hat den Termin am 12.03. abgesagt.
Die Rechnung ging an {NAME:Sabine Krause}, {ADDRESS:Lindenstraße 14, 10969 Berlin}.
Lieferung bitte an {ADDRESS:Am Alten Hafen Weg 7}, Hinterhaus.
Meine Steuer-ID lautet {TAX_ID:86 095 742 719}, die Mail {EMAIL:s.krause@example.de}.
Rentenversicherungsnummer {SOCIAL_SECURITY:15 070649 C 10 3} liegt bei.
Das Konto {IBAN:DE89 3704 0044 0532 0130 00} gehört {NAME:Thomas Weber}.
Ich wohne jetzt in der {ADDRESS:Goethestr. 3a, 80336 München}.
Unser Kollege {NAME:Stefan Hoffmann} kümmert sich darum.
Die Karte {CARD:4111 1111 1111 1111} von {NAME:Claudia Richter} wurde gesperrt.
Ich heiße {NAME:Aylin Demir} und habe mein Passwort vergessen.
Der Vertrag läuft auf {NAME:Peter Schmidt} und wurde 2019 geschlossen.
Frau {NAME:Annegret von Hohenfels} bittet um Rückruf.
Neue Adresse: {ADDRESS:Karl-Marx-Allee 90, 10243 Berlin}, ab sofort.
Hi, my name is {NAME:Oliver Grant} and my order has not arrived.
Please send it to {ADDRESS:221 Baker Street, London NW1 6XE}.
Mrs {NAME:Whitfield} called about the refund, her number is {PHONE:020 7946 0958}.
You can reach {NAME:Emily Carter} at {EMAIL:emily.carter@example.com}.
My SSN is {SOCIAL_SECURITY:536-90-4399}, please update the file.
The parcel was left with Mr. {NAME:Nakamura} next door.
I moved to {ADDRESS:1600 Elm Avenue, Springfield, IL 62704} last week.
National insurance number {SOCIAL_SECURITY:AB 12 34 56 C} is on the form.
{NAME:Michael Johnson} signed the contract on behalf of the company.
Dr. {NAME:Okonkwo} will see you on Tuesday at nine.
Ship the second box to {ADDRESS:48 Rosewood Lane} instead.
Our technician {NAME:Daniel Murphy} replaced the board yesterday.
Charge {CARD:5500 0000 0000 0004} and send the receipt to {EMAIL:d.murphy@example.org}.
I spoke to {NAME:Priya Raman} twice and nothing happened.
The account holder is {NAME:Sarah Thompson}, not me.
Bitte korrigieren Sie den Namen in {NAME:Lena Baumgartner}.
Mein Sohn {NAME:Emil Vogel} hat das Gerät benutzt.
The invoice names {NAME:Robert Chen} as the buyer.
Frag bitte {NAME:Grzegorz Wójcik}, er hat den Schlüssel.
"""

CLEAN = """
Der Akku des Modells Rose Garten lädt nicht mehr, obwohl das Netzteil neu ist.
Bitte senden Sie mir die Rechnung zu Bestellung 4711-0815 noch einmal zu.
Die Postleitzahl 10115 und Hausnummer 12 werden im Formular verlangt.
Ab Mai Rabatt auf alle Fahrräder, auch auf das Modell Frank Lloyd.
Wie lange dauert der Versand nach Österreich und in die Schweiz?
Das Gerät zeigt Fehler 12 345 678 903 und startet neu.
Am Platz 3 im Regal steht die Kiste mit den Schrauben.
Guten Morgen, liebe Kundin, lieber Kunde, vielen Dank für Ihre Nachricht.
Herr und Frau können sich im Laden beraten lassen.
In der Filiale am Ring gibt es keine Ersatzteile mehr.
The red light blinks three times and then the screen goes black.
Will Mark Two be compatible with the old charger?
Your order number is 536-904-399 and it ships on Monday.
May Day sales start on 1 May, see the terms for details.
The bathroom lamp has protection class IP44 and needs 12 volts.
We took the high road and 5 minutes later the app crashed.
Version 10.4.12 fixes the crash on start, update from Settings.
The King Size mattress is 180 by 200 centimetres.
Grace period ends after 14 days, then a fee applies.
Room 48 Main Hall is booked for the training on Friday.
Press Control Alt Delete and choose Task Manager.
The warranty covers parts and labour for two years.
"""
