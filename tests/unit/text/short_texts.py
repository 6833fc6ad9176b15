"""Fifty short texts a language, as people type them into a chat: typos and loan words included."""

TEXTS = {
    "de": """
wo bleibt mein paket?|ich warte seit montag|login geht nicht
Danke, hat geklappt!|kann man das zurückgeben?|hab das passwort vergessen|Wie lange dauert das noch?
akku ist schon wieder leer|bitte stornieren|geht das auch in blau?|Guten Morgen zusammen
App stürzt dauernd ab|das ist mir zu teuer|was kostet der versand|ich bin nicht zufrieden
Rechnung fehlt noch|kann ich später bezahlen|falsche Größe bekommen|Ist jemand da?
hallo, brauche hilfe|nein, das war gestern|ja gerne, vielen dank|wann macht ihr auf
der code funktioniert nicht|Router blinkt rot|Ich möchte kündigen|bitte um rückruf
wo ist der button dafür|habt ihr noch welche da?|alles klar, bis dann|Update macht alles langsam
schon zweimal angerufen|kein ton beim video|wie ändere ich die adresse|Warum wurde abgebucht?
gutschein ist abgelaufen|passt das zu meinem modell?|drucker druckt nur weiß|das stimmt so nicht
Lieferung kam kaputt an|Könnt ihr das prüfen?|mir fehlt ein teil|email kam nie an
wer ist dafür zuständig|ich verstehe das nicht|seit gestern kein internet|Termin bitte verschieben
geht heute noch was|zu spät geliefert|ist das vegan?
""",
    "en": """
where is my parcel?|been waiting since monday|login does not work|Thanks, that worked!
can i return this?|forgot my password|How long will it take?|battery is empty again|please cancel it
do you have it in blue?|Good morning everyone|app keeps crashing|that is too expensive
how much is shipping|i am not happy|Invoice is missing|can i pay later|got the wrong size
Is anyone there?|hello, i need help|no, that was yesterday|yes please, thank you|when do you open
the code is not working|Router blinks red|I want to cancel|please call me back
where is the button for that|any left in stock?|all good, see you|Update made everything slow
already called twice|no sound on the video|how do i change my address|Why was I charged?
voucher has expired|will it fit my model?|printer only prints white|this is not right
Delivery arrived broken|Could you check that?|one part is missing|never got the email
who is in charge of this|i dont understand|no internet since yesterday|Please move my appointment
anything still possible today|delivered too late|is it vegan?
""",
    "fr": """
où est mon colis ?|j'attends depuis lundi|la connexion ne marche pas|Merci, ça a marché !
je peux le retourner ?|mot de passe oublié|Ça prend combien de temps ?|batterie encore vide
annulez svp|vous l'avez en bleu ?|Bonjour à tous|l'appli plante tout le temps|c'est trop cher
combien coûte la livraison|je ne suis pas content|Il manque la facture|je peux payer plus tard
mauvaise taille reçue|Il y a quelqu'un ?|bonjour, j'ai besoin d'aide|non, c'était hier
oui volontiers, merci|vous ouvrez quand|le code ne fonctionne pas|Le routeur clignote rouge
Je veux résilier|rappelez-moi svp|où est le bouton pour ça|il en reste ?|d'accord, à bientôt
Tout est lent depuis la mise à jour|déjà appelé deux fois|pas de son sur la vidéo
comment changer mon adresse|Pourquoi ce prélèvement ?|bon d'achat expiré|ça va avec mon modèle ?
l'imprimante imprime en blanc|ce n'est pas correct|Livraison arrivée cassée|Vous pouvez vérifier ?
il manque une pièce|jamais reçu le mail|qui s'en occupe|je ne comprends pas
plus d'internet depuis hier|Déplacer mon rendez-vous svp|encore possible aujourd'hui|livré trop tard
c'est végan ?
""",
    "es": """
¿dónde está mi paquete?|espero desde el lunes|no puedo entrar|¡Gracias, funcionó!|¿puedo devolverlo?
olvidé la contraseña|¿Cuánto tarda?|la batería está vacía otra vez|cancelar por favor
¿lo tienen en azul?|Buenos días a todos|la app se cierra sola|es demasiado caro
cuánto cuesta el envío|no estoy contento|Falta la factura|puedo pagar más tarde|talla equivocada
¿Hay alguien?|hola, necesito ayuda|no, eso fue ayer|sí por favor, gracias|a qué hora abren
el código no funciona|El router parpadea en rojo|Quiero darme de baja|llámenme por favor
dónde está el botón para eso|¿les quedan?|vale, hasta luego|Todo va lento desde la actualización
ya llamé dos veces|el vídeo no tiene sonido|cómo cambio mi dirección|¿Por qué me cobraron?
el cupón ha caducado|¿sirve para mi modelo?|la impresora imprime en blanco|esto no está bien
El envío llegó roto|¿Pueden revisarlo?|falta una pieza|nunca llegó el correo
quién se encarga de esto|no entiendo|sin internet desde ayer|Cambiar mi cita por favor
todavía se puede hoy|entregado demasiado tarde|¿es vegano?
""",
    "it": """
dov'è il mio pacco?|aspetto da lunedì|non riesco ad accedere|Grazie, ha funzionato!
posso restituirlo?|ho dimenticato la password|Quanto tempo ci vuole?|batteria di nuovo scarica
annullate per favore|ce l'avete in blu?|Buongiorno a tutti|l'app si chiude sempre|è troppo caro
quanto costa la spedizione|non sono soddisfatto|Manca la fattura|posso pagare dopo|taglia sbagliata
C'è qualcuno?|ciao, ho bisogno di aiuto|no, era ieri|sì volentieri, grazie|quando aprite
il codice non funziona|Il router lampeggia rosso|Voglio disdire|richiamatemi per favore
dov'è il pulsante per questo|ne avete ancora?|va bene, a presto|Dopo l'aggiornamento è tutto lento
ho già chiamato due volte|il video non ha audio|come cambio indirizzo|Perché mi avete addebitato?
il buono è scaduto|va bene per il mio modello?|la stampante stampa bianco|non è giusto
La consegna è arrivata rotta|Potete controllare?|manca un pezzo|l'email non è mai arrivata
chi se ne occupa|non capisco|niente internet da ieri|Spostare l'appuntamento per favore
si può ancora oggi|consegnato troppo tardi|è vegano?
""",
}


def short_texts() -> list[tuple[str, str]]:
    """(text, language) of all."""
    lines = ((line, language) for language, block in TEXTS.items() for line in block.strip().splitlines())
    return [(text, language) for line, language in lines for text in line.split("|")]


OTHERS = """
waar is mijn pakket?|ik wacht sinds maandag|inloggen lukt niet|kan ik het ruilen?
wachtwoord vergeten|batterij is weer leeg|onde está o meu pacote?|não consigo entrar|posso devolver?
esqueci a senha|a bateria acabou outra vez|quero cancelar|gdzie jest moja paczka?
nie mogę się zalogować|czy mogę to zwrócić?|zapomniałem hasła|bateria znowu pusta|proszę anulować
var är mitt paket?|inloggningen fungerar inte|kan jag returnera den?|glömt lösenordet
batteriet är tomt igen|vill säga upp|paketim nerede?|giriş yapamıyorum|iade edebilir miyim?
şifremi unuttum|pil yine bitti|iptal etmek istiyorum|hvor er pakken min?|innlogging virker ikke
unde este pachetul meu?|kde je můj balík?|hol van a csomagom?|missä pakettini on?
"""
"""Texts in languages that nobody asked for."""


def other_texts() -> list[str]:
    return [text for line in OTHERS.strip().splitlines() for text in line.split("|")]
