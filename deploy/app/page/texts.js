// Every text of the page, by language. `{name}` is filled in. A language that lacks a text shows the English one.

export const TEXTS = {
  en: {
    language: "Language", answer: "Answer", about: "About this model", card: "Model card", licences: "Licences",
    camera: "Use the camera", shutter: "Take this picture", choose: "Choose a photo",
    starting: "Starting…", ready: "Point the camera, choose a photo, or drop one here.",
    loading: "Loading the model ({megabytes} MB)…", testing: "Testing the model on this device…",
    heard: "{label}, {percent}", photo: "The photo that was asked about",
    model: "File", runtime: "Runs on", version: "Version", input: "Photos become", offline: "Without network",
    kept: "Works: {megabytes} MB are kept", notKept: "Not yet: this browser keeps nothing here",
    insecure: "This address is not secure (no HTTPS), so there is no camera and nothing is kept for offline use.",
    noCamera: "The camera cannot be used: {reason}. Choose a photo instead.",
    unreadable: "This file cannot be read as a photo.",
    tooLarge: "This photo has {megapixels} megapixels; at most {most} are read.",
    disagrees: "{way} answered differently from the tested model on this device, so {next} is used.",
    fails: "No way of running the model works in this browser: {reason}",
    damaged: "The app is damaged: {file}. Load the page again while online.",
    notReady: "Do not rely on this model yet: {reasons}",
    another: "the next one",
    right: "Is that right?", yes: "Yes", no: "No, it is…", other: "Something else", unknown: "I don’t know",
    withPlace: "Add the place where I am now, to about 1 km",
    find: "Find by any word of its name", whatIsIt: "What is it?", otherwise: "Something else: {text}",
    done: "Done", back: "Back", keptAs: "Kept: {said}", change: "Change",
    noPlace: "The place cannot be had: {reason}. Nothing was kept; answer again without it.",
    full: "This device is full, so your answer was not kept. Make room, then answer again.",
    unkept: "Your answer could not be kept: {reason}",
    mine: "My observations ({count})", none: "None yet.", here: "On this device only: {count}.",
    waiting: "Waiting to be sent: {count}.", refused: "Refused: {count}.", sent: "Sent: {count}.",
    uninvitedYet: "To send them to {place}, open the link that you were given, or paste it here.",
    towards: "They go to {place}, in the name of {name}.", towardsUnknown: "They go to {place} as soon as it answers.",
    unreached: "The server cannot be reached. It is tried again; nothing is lost. {reason}",
    uninvited: "The server does not take your observations. They stay here. {reason}",
    link: "Invitation", use: "Send by this invitation", leave: "Send no more", noInvitation: "This is no invitation link.",
    replace: "So far your observations go in the name of {name}. Send by this invitation instead?",
    noServer: "This app names no server, so it sends nothing. Your observations can be saved.",
    sendAgain: "Send again", delete: "Delete", save: "Save my observations", deleteSaved: "Delete what was saved here ({count})",
    unsaved: "They could not be saved: {reason}", photoOf: "Photo of: {said}",
  },
  de: {
    language: "Sprache", answer: "Antwort", about: "Über dieses Modell", card: "Modellkarte", licences: "Lizenzen",
    camera: "Kamera benutzen", shutter: "Dieses Bild nehmen", choose: "Foto auswählen",
    starting: "Startet…", ready: "Kamera ausrichten, ein Foto auswählen oder hier ablegen.",
    loading: "Das Modell wird geladen ({megabytes} MB)…", testing: "Das Modell wird auf diesem Gerät geprüft…",
    heard: "{label}, {percent}", photo: "Das Foto, nach dem gefragt wurde",
    model: "Datei", runtime: "Läuft auf", version: "Version", input: "Fotos werden", offline: "Ohne Netz",
    kept: "Geht: {megabytes} MB sind gespeichert", notKept: "Noch nicht: Dieser Browser speichert hier nichts",
    insecure: "Diese Adresse ist nicht sicher (kein HTTPS). Darum gibt es keine Kamera, und ohne Netz geht nichts.",
    noCamera: "Die Kamera kann nicht benutzt werden: {reason}. Bitte ein Foto auswählen.",
    unreadable: "Diese Datei kann nicht als Foto gelesen werden.",
    tooLarge: "Dieses Foto hat {megapixels} Megapixel; gelesen werden höchstens {most}.",
    disagrees: "{way} antwortete auf diesem Gerät anders als das geprüfte Modell. Benutzt wird {next}.",
    fails: "In diesem Browser läuft das Modell auf keine Weise: {reason}",
    damaged: "Die App ist beschädigt: {file}. Bitte die Seite mit Netz neu laden.",
    notReady: "Auf dieses Modell ist noch kein Verlass: {reasons}",
    another: "der nächste Weg",
    right: "Stimmt das?", yes: "Ja", no: "Nein, es ist…", other: "Etwas anderes", unknown: "Weiß ich nicht",
    withPlace: "Den Ort dazu, an dem ich gerade bin, auf etwa 1 km genau",
    find: "Suchen nach einem Wort des Namens", whatIsIt: "Was ist es?", otherwise: "Etwas anderes: {text}",
    done: "Fertig", back: "Zurück", keptAs: "Behalten: {said}", change: "Ändern",
    noPlace: "Der Ort ist nicht zu bekommen: {reason}. Nichts wurde behalten; bitte ohne ihn antworten.",
    full: "Dieses Gerät ist voll. Die Antwort wurde nicht behalten. Bitte Platz schaffen und noch einmal antworten.",
    unkept: "Die Antwort konnte nicht behalten werden: {reason}",
    mine: "Meine Beobachtungen ({count})", none: "Noch keine.", here: "Nur auf diesem Gerät: {count}.",
    waiting: "Noch zu senden: {count}.", refused: "Abgelehnt: {count}.", sent: "Gesendet: {count}.",
    uninvitedYet: "Um sie an {place} zu senden, den erhaltenen Link öffnen oder hier einfügen.",
    towards: "Sie gehen an {place}, im Namen von {name}.", towardsUnknown: "Sie gehen an {place}, sobald es antwortet.",
    unreached: "Der Server ist nicht zu erreichen. Es wird wieder versucht; nichts geht verloren. {reason}",
    uninvited: "Der Server nimmt die Beobachtungen nicht an. Sie bleiben hier. {reason}",
    link: "Einladung", use: "Mit dieser Einladung senden", leave: "Nicht mehr senden", noInvitation: "Das ist kein Einladungslink.",
    replace: "Bisher gehen die Beobachtungen im Namen von {name}. Künftig mit dieser Einladung senden?",
    noServer: "Diese App nennt keinen Server, also sendet sie nichts. Beobachtungen lassen sich speichern.",
    sendAgain: "Noch einmal senden", delete: "Löschen", save: "Meine Beobachtungen speichern",
    deleteSaved: "Gespeicherte hier löschen ({count})",
    unsaved: "Sie konnten nicht gespeichert werden: {reason}", photoOf: "Foto von: {said}",
  },
  es: {
    language: "Idioma", answer: "Respuesta", about: "Sobre este modelo", card: "Ficha del modelo", licences: "Licencias",
    camera: "Usar la cámara", shutter: "Tomar esta imagen", choose: "Elegir una foto",
    starting: "Iniciando…", ready: "Apunta la cámara, elige una foto o suéltala aquí.",
    loading: "Cargando el modelo ({megabytes} MB)…", testing: "Probando el modelo en este dispositivo…",
    heard: "{label}, {percent}", photo: "La foto sobre la que se preguntó",
    model: "Archivo", runtime: "Se ejecuta en", version: "Versión", input: "Las fotos se", offline: "Sin red",
    kept: "Funciona: se guardan {megabytes} MB", notKept: "Todavía no: este navegador no guarda nada aquí",
    insecure: "Esta dirección no es segura (sin HTTPS): no hay cámara y nada se guarda para usar sin red.",
    noCamera: "No se puede usar la cámara: {reason}. Elige una foto.",
    unreadable: "Este archivo no se puede leer como foto.",
    tooLarge: "Esta foto tiene {megapixels} megapíxeles; se leen como máximo {most}.",
    disagrees: "{way} respondió en este dispositivo de otro modo que el modelo probado. Se usa {next}.",
    fails: "El modelo no se ejecuta de ningún modo en este navegador: {reason}",
    damaged: "La aplicación está dañada: {file}. Carga la página de nuevo con red.",
    notReady: "Todavía no te fíes de este modelo: {reasons}",
    another: "el siguiente",
    right: "¿Es correcto?", yes: "Sí", no: "No, es…", other: "Otra cosa", unknown: "No lo sé",
    withPlace: "Añadir el lugar donde estoy ahora, con 1 km de precisión",
    find: "Buscar por cualquier palabra del nombre", whatIsIt: "¿Qué es?", otherwise: "Otra cosa: {text}",
    done: "Listo", back: "Atrás", keptAs: "Guardado: {said}", change: "Cambiar",
    noPlace: "No se puede obtener el lugar: {reason}. No se guardó nada; responde otra vez sin él.",
    full: "Este dispositivo está lleno y tu respuesta no se guardó. Libera espacio y responde otra vez.",
    unkept: "Tu respuesta no se pudo guardar: {reason}",
    mine: "Mis observaciones ({count})", none: "Todavía ninguna.", here: "Solo en este dispositivo: {count}.",
    waiting: "Por enviar: {count}.", refused: "Rechazadas: {count}.", sent: "Enviadas: {count}.",
    uninvitedYet: "Para enviarlas a {place}, abre el enlace que recibiste o pégalo aquí.",
    towards: "Van a {place}, en nombre de {name}.", towardsUnknown: "Van a {place} en cuanto responda.",
    unreached: "No se puede llegar al servidor. Se intentará de nuevo; nada se pierde. {reason}",
    uninvited: "El servidor no acepta tus observaciones. Se quedan aquí. {reason}",
    link: "Invitación", use: "Enviar con esta invitación", leave: "No enviar más", noInvitation: "Esto no es un enlace de invitación.",
    replace: "Hasta ahora tus observaciones van en nombre de {name}. ¿Enviar con esta invitación?",
    noServer: "Esta aplicación no nombra ningún servidor, así que no envía nada. Tus observaciones se pueden guardar.",
    sendAgain: "Enviar otra vez", delete: "Eliminar", save: "Guardar mis observaciones",
    deleteSaved: "Eliminar aquí las guardadas ({count})",
    unsaved: "No se pudieron guardar: {reason}", photoOf: "Foto de: {said}",
  },
};

export const NAMES = { en: "English", de: "Deutsch", es: "Español" };

let language = "en";

export function speak(wanted) {
  language = TEXTS[wanted] ? wanted : "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  return language;
}

export function t(name, words = {}) {
  const text = TEXTS[language][name] ?? TEXTS.en[name];
  return text.replace(/\{(\w+)\}/g, (_, word) => String(words[word] ?? ""));
}

export const percent = (share) => new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(share);
export const megabytes = (bytes) => new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(bytes / 1e6);
