/* Keeps the dashboard fresh: fetches the fragment and changes only what differs, so that focus, selection, open
   <details> and scroll positions stay, and screen readers hear only a changed verdict. When the figures are not of now any
   more, it says so in the verdict's place, and nothing on the page keeps the colour of what is known. */
"use strict";

(() => {
  const pools = document.getElementById("pools");
  const bar = document.getElementById("pm-refresh");
  const age = document.getElementById("pm-age");
  const select = document.getElementById("pm-interval");
  const contact = document.getElementById("pm-contact");
  if (!pools || !bar || !age || !select || !contact) return;

  const REMEMBERED = "poolmgr.interval";
  let timer = 0;
  let request = null;
  let good = now();
  let state = "live"; // live | lost | out (signed out) | away (nobody can be recognised) | blind (the store can't be read)
  let reason = ""; // what the server says of it, where it says anything

  /* The two clocks differ while the machine sleeps, or when somebody sets one. */
  function now() {
    return { steady: performance.now(), wall: Date.now() };
  }

  function secondsSince(then) {
    return Math.max(performance.now() - then.steady, Date.now() - then.wall, 0) / 1000;
  }

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
    const mine = request = new AbortController();
    const deadline = setTimeout(() => mine.abort(), 15000);
    try {
      const answer = await fetch(pools.dataset.fragment, {
        credentials: "same-origin",
        redirect: "manual", // a redirect is the login: the session is over
        cache: "no-store",
        signal: mine.signal,
      });
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        state = "out";
      } else if (!answer.ok) {
        state = answer.status === 503 ? "away" : "lost";
      } else {
        const text = await answer.text();
        if (request === mine) show(new DOMParser().parseFromString(text, "text/html").body);
      }
    } catch {
      // One that was given up for another says nothing.
      if (request === mine) state = "lost";
    } finally {
      clearTimeout(deadline);
      if (request !== mine) return;
      request = null;
      tell();
      if (state !== "out") schedule(every());
    }
  }

  function show(fresh) {
    reason = "";
    // A server that can read nothing has nothing to put in the place of what was known.
    if (fresh.querySelector(".pm-verdict[data-blind]") && !pools.querySelector(".pm-verdict[data-blind]")) {
      reason = textOf(fresh, ".pm-headline");
      state = "blind";
      return;
    }
    morphChildren(pools, fresh);
    good = now();
    state = "live";
  }

  /* -- filters and pages: they change the address and what is refreshed, so that both stay one -- */

  function ask(query) {
    const fragment = new URL(pools.dataset.fragment, location.href);
    const asked = new URLSearchParams(query);
    if (fragment.searchParams.has("part")) asked.set("part", fragment.searchParams.get("part"));
    fragment.search = asked;
    pools.dataset.fragment = fragment.pathname + fragment.search;
    request?.abort();
    request = null;
    refresh();
  }

  function choose(query, hash) {
    history.pushState(null, "", `${location.pathname}${query ? `?${query}` : ""}${hash}`);
    ask(query);
  }

  pools.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    choose(link.search.slice(1), link.hash);
  });

  pools.addEventListener("submit", (event) => {
    if (event.target.method !== "get") return;
    event.preventDefault();
    const asked = new URLSearchParams(new FormData(event.target));
    for (const [name, value] of [...asked]) if (!value) asked.delete(name);
    choose(asked.toString(), new URL(event.target.action).hash);
  });

  window.addEventListener("popstate", () => ask(location.search));

  /* -- telling how fresh the figures are -- */

  function ago(seconds) {
    return seconds < 119.5 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
  }

  function textOf(tree, selector) {
    return tree.querySelector(selector)?.textContent.trim() ?? "";
  }

  function tell() {
    const seconds = secondsSince(good);
    // Also without an error: a request may hang, and a page that was hidden shows what it showed then.
    const told = state === "live" && seconds > (2 * every()) / 1000 + 2 ? "old" : state;
    let text = bar.dataset.updated.replace("%s", ago(seconds));
    if (told === "out") text = bar.dataset.out;
    else if (told !== "live" && told !== "old") text = bar.dataset.lost.replace("%s", ago(seconds));
    else if (seconds < 1) text = bar.dataset.now;
    write(age, text);
    if (pools.dataset.state !== told) turn(told);
  }

  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  /* From known to known until, and back. */
  function turn(told) {
    bar.dataset.state = pools.dataset.state = told;
    contact.hidden = told === "live";
    if (told === "live") return;
    const until = textOf(pools, ".pm-at");
    write(contact.querySelector(".pm-said"), contact.dataset[told].replace("%s", until));
    write(contact.querySelector(".pm-quiet"), reason || contact.dataset.last.replace("%s", textOf(pools, ".pm-headline")));
    const marked = contact.dataset.until.replace("%s", until);
    for (const icon of pools.querySelectorAll(".pm-icon")) {
      // The next refresh writes the plain label again.
      const label = icon.getAttribute("aria-label");
      if (!label.startsWith(marked)) icon.setAttribute("aria-label", `${marked} ${label}`);
    }
  }

  document.addEventListener("visibilitychange", () => {
    tell();
    if (document.hidden) clearTimeout(timer);
    else if (state !== "out") refresh();
  });

  window.addEventListener("pageshow", (event) => {
    if (event.persisted && state !== "out") refresh();
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
