// Keeps a list live. An element with data-live="/address" names a stream of events, each {"id", "html"}: the element with
// that id is replaced by the piece of page, which the server has escaped; a new one goes into the element with data-live-new,
// before what is older (ids sort by time), and one without html goes away. A stream begins with the ids of all that the page
// shows, and with them, so one may end and begin at any time: it does when nobody looks, since browsers open only six at once.
"use strict";

for (const list of document.querySelectorAll("[data-live]")) {
  const status = document.querySelector("[data-live-status]");
  let source = null;
  let over = false;

  const say = (text) => {
    if (status && status.textContent !== text) status.textContent = text;
  };

  const piece = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    return template.content.firstElementChild;
  };

  const change = (event) => {
    const { id, html } = JSON.parse(event.data);
    const old = document.getElementById(id);
    if (!html) {
      old?.remove();
      return;
    }
    const fresh = piece(html);
    if (!old) {
      const rows = list.querySelector("[data-live-new]");
      rows?.insertBefore(fresh, [...rows.children].find((row) => row.id < id) ?? null);
    } else if (old.outerHTML !== fresh.outerHTML) {
      const link = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      old.replaceWith(fresh);
      if (link) [...fresh.querySelectorAll("a")].find((it) => it.getAttribute("href") === link)?.focus();
    }
  };

  // What went while nobody listened is named by nobody else.
  const all = (event) => {
    const ids = new Set(JSON.parse(event.data));
    for (const row of list.querySelectorAll("[data-live-new] > [id]")) if (!ids.has(row.id)) row.remove();
  };

  const close = () => {
    source?.close();
    source = null;
  };

  const open = () => {
    if (source || over) return;
    source = new EventSource(list.dataset.live);
    source.addEventListener("all", all);
    source.addEventListener("change", change);
    source.addEventListener("open", () => say(""));
    source.addEventListener("ended", () => {
      over = true;
      close();
      say("Your session has ended. Sign in again.");
    });
    source.addEventListener("error", () => {
      say("The connection is gone; trying again.");
      // A browser comes back by itself from a break, but not from a refusal.
      if (source?.readyState === EventSource.CLOSED) refused();
    });
  };

  const refused = async () => {
    close();
    try {
      const page = await fetch(location.href, { method: "HEAD", redirect: "manual" });
      if (page.type === "opaqueredirect") {
        over = true;
        say("Your session has ended. Sign in again.");
        return;
      }
    } catch {
      // Nobody answers; nothing is known.
    }
    setTimeout(() => document.hidden || open(), 5000 + Math.random() * 5000);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}
