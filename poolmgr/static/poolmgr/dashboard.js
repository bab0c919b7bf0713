/* Keeps the dashboard fresh: fetches the fragment and changes only what differs, so that focus, selection, open
   <details> and scroll positions stay, and screen readers hear only a changed verdict. */
"use strict";

(() => {
  const pools = document.getElementById("pools");
  const bar = document.getElementById("pm-refresh");
  const age = document.getElementById("pm-age");
  const select = document.getElementById("pm-interval");
  if (!pools || !bar || !age || !select) return;

  const REMEMBERED = "poolmgr.interval";
  let timer = 0;
  let request = null;
  let good = performance.now();
  let state = "live"; // live | lost | out

  /* -- the difference between two trees -- */

  function key(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || null : null;
  }

  function alike(a, b) {
    return a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);
  }

  function morph(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    const opened = from.nodeName === "DETAILS";
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(opened && name === "open")) from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    morphChildren(from, to);
  }

  function morphChildren(from, to) {
    const wanted = new Set([...to.childNodes].map(key));
    let old = from.firstChild;
    for (const fresh of [...to.childNodes]) {
      const match = find(old, fresh);
      if (!match) {
        from.insertBefore(document.importNode(fresh, true), old);
        continue;
      }
      // Moving an element takes the focus from it, so what is in its way goes, unless it is wanted later.
      while (old !== match && !(key(old) && wanted.has(key(old)))) old = removed(old);
      if (match === old) old = old.nextSibling;
      else from.insertBefore(match, old);
      morph(match, fresh);
    }
    while (old) old = removed(old);
  }

  function find(old, fresh) {
    if (old && alike(old, fresh)) return old;
    // A keyed node that moved is found further on; anything else is new.
    if (key(fresh)) {
      for (let ahead = old; ahead; ahead = ahead.nextSibling) if (alike(ahead, fresh)) return ahead;
    }
    return null;
  }

  function removed(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  /* -- fetching -- */

  function every() {
    return Number(select.value) * 1000;
  }

  function schedule(delay) {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(refresh, delay);
  }

  async function refresh() {
    clearTimeout(timer);
    if (request) return;
    request = new AbortController();
    const deadline = setTimeout(() => request.abort(), 15000);
    try {
      const answer = await fetch(pools.dataset.fragment, {
        credentials: "same-origin",
        redirect: "manual", // a redirect is the login: the session is over
        cache: "no-store",
        signal: request.signal,
      });
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        state = "out";
      } else if (!answer.ok) {
        state = "lost";
      } else {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        morphChildren(pools, page.body);
        good = performance.now();
        state = "live";
      }
    } catch {
      state = "lost";
    } finally {
      clearTimeout(deadline);
      request = null;
      tell();
      if (state !== "out") schedule(every());
    }
  }

  /* -- telling how fresh the figures are -- */

  function ago() {
    const seconds = Math.round((performance.now() - good) / 1000);
    return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  }

  function tell() {
    const seconds = (performance.now() - good) / 1000;
    let text = bar.dataset.updated.replace("%s", ago());
    if (state === "out") text = bar.dataset.out;
    else if (state === "lost") text = bar.dataset.lost.replace("%s", ago());
    else if (seconds < 1) text = bar.dataset.now;
    if (age.textContent !== text) age.textContent = text;
    bar.dataset.state = state;
    pools.dataset.state = state;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (state !== "out") refresh();
  });

  select.addEventListener("change", () => {
    try { localStorage.setItem(REMEMBERED, select.value); } catch { /* private mode: not remembered */ }
    schedule(every());
  });

  try {
    const remembered = localStorage.getItem(REMEMBERED);
    if ([...select.options].some((option) => option.value === remembered)) select.value = remembered;
  } catch { /* private mode */ }

  select.parentElement.hidden = false;
  setInterval(tell, 1000);
  tell();
  schedule(every());
})();
