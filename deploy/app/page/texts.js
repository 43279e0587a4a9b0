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
