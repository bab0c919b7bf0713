/* Asks what a save would lead to without leaving the form. Without this script the same button sends the form, and the page
   that comes back says it. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const box = document.getElementById("pm-foreseen");
  const button = document.getElementById("pm-foresee");
  if (!box?.dataset.address || !button) return;
  const form = button.form;
  let plainly = false; // send the form as without a script

  async function ask() {
    const data = new FormData(form);
    data.append(button.name, "");
    // What was confirmed before is asked anew.
    data.delete("confirmed");
    const answer = await fetch(box.dataset.address, {
      method: "POST",
      body: data,
      credentials: "same-origin",
      redirect: "manual", // a redirect is the login: the session is over
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), "text/html").body;
  }

  button.addEventListener("click", async (event) => {
    if (plainly) return;
    event.preventDefault();
    button.disabled = true;
    box.setAttribute("aria-busy", "true");
    try {
      const told = await ask();
      box.replaceChildren(...[...told.childNodes].map((node) => document.importNode(node, true)));
    } catch {
      plainly = true;
    } finally {
      button.disabled = false;
      box.removeAttribute("aria-busy");
    }
    if (plainly) button.click();
    else box.scrollIntoView({ block: "nearest" });
  });

  // What stands there is of other values than these.
  form.addEventListener("input", (event) => {
    if (!box.contains(event.target)) box.replaceChildren();
  });
});
