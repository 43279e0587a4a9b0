// Messages to the lab. A lost connection is waited out: the message stays here until it is heard.

export class Refused extends Error {}

const longest = 8000;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// onTrouble(reason) is called while a message does not get through, onTrouble(null) once it does.
export async function post(path, message, onTrouble) {
  for (let wait = 500, trouble = false; ; wait = Math.min(2 * wait, longest)) {
    const answer = await send(path, message);
    if (answer.trouble) {
      trouble = true;
      onTrouble(answer.trouble);
      await sleep(wait);
      continue;
    }
    if (trouble) onTrouble(null);
    if (answer.error) throw new Refused(answer.error);
    return answer.told;
  }
}

async function send(path, message) {
  try {
    const response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message),
    });
    const told = await response.json();
    if (response.status >= 500) return { trouble: told.error };
    return response.ok ? { told } : { error: told.error };
  } catch {
    return { trouble: "Connection lost." };
  }
}
