// "My observations": what waits, what was refused and why, the invitation, and saving without a server.

import * as kept from "./kept.js";
import { archive } from "./save.js";
import { t } from "./texts.js";

const at = (id) => document.getElementById(id);
const TOKEN = /^[\w-]{16,128}$/;

// The token of an invitation: of this page's own address, or of a text that somebody pasted. Null if there is none.
export function tokenOf(text) {
  const token = text.trim().split(/[/=#]/).at(-1);
  return TOKEN.test(token) ? token : null;
}

// server is the address that observations go to, or "" without one; queue as `sender` returns it. trouble(text) tells
// what went wrong. Returns { show() }, which shows how things are now.
export function mine({ server, queue, trouble }) {
  let saved = [];
  let shown = []; // addresses of the refused photos
  let turns = 0;

  async function show() {
    const turn = ++turns;
    const { waiting, refused, sent } = await kept.counts();
    const invited = server ? await kept.invitation() : null;
    const records = refused ? await kept.refused() : [];
    if (turn !== turns) return; // a later one knows more
    const total = waiting + refused;
    at("mine-title").textContent = t("mine", { count: total });
    at("state").textContent = [
      waiting ? t(invited ? "waiting" : "here", { count: waiting }) : "",
      refused ? t("refused", { count: refused }) : "",
      sent ? t("sent", { count: sent }) : "",
      total || sent ? "" : t("none"),
    ].filter(Boolean).join(" ");
    at("towards").hidden = !server;
    at("towards").textContent = !server ? "" : towards(invited);
    const reason = invited ? queue.trouble() : null;
    hindered(waiting || reason?.name === "uninvited" ? reason : null);
    at("invite").hidden = !server || Boolean(invited);
    at("leave").hidden = !invited;
    at("save").disabled = !total;
    at("delete-saved").hidden = !saved.length;
    at("delete-saved").textContent = t("deleteSaved", { count: saved.length });
    list(records);
  }

  function towards(invited) {
    const place = new URL(server).host;
    if (!invited) return t("uninvitedYet", { place });
    return t(invited.contributor ? "towards" : "towardsUnknown", { place, name: invited.contributor });
  }

  function hindered(reason) {
    at("hindered").hidden = !reason;
    at("hindered").textContent = reason ? t(reason.name, { reason: reason.reason ?? "" }) : "";
  }

  function list(records) {
    for (const address of shown) URL.revokeObjectURL(address);
    shown = [];
    at("refused").replaceChildren(...records.map(item));
  }

  function item(record) {
    const entry = document.createElement("li");
    const image = entry.appendChild(document.createElement("img"));
    image.src = URL.createObjectURL(new Blob([record.photo], { type: "image/jpeg" }));
    image.alt = t("photoOf", { said: record.said });
    shown.push(image.src);
    const words = entry.appendChild(document.createElement("p"));
    words.dir = "auto";
    words.textContent = `${record.said}: ${record.reason || "?"}`;
    for (const [name, act] of [["sendAgain", kept.wait], ["delete", kept.remove]]) {
      const button = entry.appendChild(document.createElement("button"));
      button.type = "button";
      button.className = "quiet";
      button.textContent = t(name);
      button.setAttribute("aria-label", `${t(name)}: ${record.said}`);
      button.addEventListener("click", async () => {
        await act(record.number);
        if (act === kept.wait) queue?.wake();
        await show();
      });
    }
    return entry;
  }

  async function save() {
    at("save").disabled = true;
    try {
      const { blob, numbers } = await archive();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `observations-${new Date().toISOString().slice(0, 10)}.zip`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 600e3);
      saved = numbers;
    } catch (error) {
      trouble(t("unsaved", { reason: error.message }));
    }
    await show();
  }

  async function deleteSaved() {
    for (const number of saved) if (queue?.sending() !== number) await kept.remove(number);
    saved = [];
    await show();
  }

  // Send by an invitation from now on. One that replaces another is asked about: anyone can send a link.
  async function accept(token) {
    const known = await kept.invitation();
    if (known?.token === token) return;
    if (known && !confirm(t("replace", { name: known.contributor ?? "?" }))) return;
    await kept.setInvitation({ token });
    queue.wake();
    await show();
  }

  at("save").addEventListener("click", save);
  at("delete-saved").addEventListener("click", deleteSaved);
  at("leave").addEventListener("click", async () => {
    await kept.setInvitation(null);
    await show();
  });
  at("invite").addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = tokenOf(at("link").value);
    if (!token) return trouble(t("noInvitation"));
    at("link").value = "";
    trouble("");
    await accept(token);
  });
  return { show, accept };
}
