// The log of one deployment: read as it is written, held as data, and only what is seen of it is in the document.
//
// The element says where the stream is (`data-stream`). A stream's `lines` are [number, time, step, stream, runs], with runs of
// [look, text] that the server made: this script sets text and names of looks, and never markup.
"use strict";

(() => {
  const log = document.querySelector("[data-log]");
  if (!log) return;
  const view = log.querySelector("[data-log-view]");
  const list = log.querySelector("[data-log-lines]");
  const follow = log.querySelector("[data-log-follow]");
  const search = log.querySelector("[data-log-search]");
  const found = log.querySelector("[data-log-found]");
  const note = log.querySelector("[data-log-note]");
  const height = 20; // of a line, as the style sheet has it
  const beyond = 30; // lines above and below the view that are in the document as well

  const lines = [];
  let following = !location.hash;
  let hits = [];
  let hit = -1;
  let marked = null;
  let pending = false;
  let before = 0; // where the view was scrolled to

  const counted = (count) => `${count} ${count === 1 ? "line" : "lines"}`;

  // --- drawing

  const stretch = () => {
    list.style.height = `${lines.length * height}px`;
  };

  const draw = () => {
    pending = false;
    stretch();
    if (following) view.scrollTop = view.scrollHeight;
    const top = Math.floor(view.scrollTop / height);
    const from = Math.max(0, top - beyond);
    const to = Math.min(lines.length, top + Math.ceil(view.clientHeight / height) + beyond);
    const held = heldBySelection();
    for (const element of [...list.children]) {
      const index = Number(element.dataset.index);
      if ((index < from || index >= to) && !held(index)) element.remove();
    }
    const there = new Map([...list.children].map((element) => [Number(element.dataset.index), element]));
    for (let index = from; index < to; index += 1) {
      if (there.has(index)) continue;
      const after = [...list.children].find((element) => Number(element.dataset.index) > index);
      list.insertBefore(lineElement(index), after ?? null);
    }
  };

  // What somebody has selected stays in the document, or the selection would be lost by scrolling.
  const heldBySelection = () => {
    const selection = document.getSelection();
    if (!selection || selection.isCollapsed || !list.contains(selection.anchorNode)) return () => false;
    const indexOf = (node) => {
      const element = node instanceof Element ? node : node.parentElement;
      const line = element.closest("[data-index]");
      return line ? Number(line.dataset.index) : NaN;
    };
    const ends = [indexOf(selection.anchorNode), indexOf(selection.focusNode)].filter((end) => !Number.isNaN(end));
    return (index) => ends.includes(index);
  };

  const schedule = () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(draw);
  };

  const lineElement = (index) => {
    const [number, time, , stream, runs] = lines[index];
    const element = document.createElement("div");
    element.className = `line ${stream}`;
    element.dataset.index = index;
    element.id = `L${number}`;
    element.style.top = `${index * height}px`;
    if (marked && number >= marked[0] && number <= marked[1]) element.classList.add("marked");
    const link = document.createElement("a");
    link.href = `#L${number}`;
    link.className = "number";
    link.textContent = number;
    link.tabIndex = -1;
    const at = document.createElement("time");
    at.textContent = time;
    const text = document.createElement("span");
    text.className = "text";
    for (const [look, piece] of runs) {
      if (!look) text.append(piece);
      else {
        const run = document.createElement("span");
        run.className = look;
        run.textContent = piece;
        text.append(run);
      }
    }
    element.append(link, at, text);
    paint(element, index);
    return element;
  };

  const redraw = () => {
    list.replaceChildren();
    schedule();
  };

  // --- search, over all lines, also those that are not in the document

  const textOf = (index) => lines[index][4].map((run) => run[1]).join("");

  const paint = (element, index) => {
    const wanted = search.value;
    element.classList.toggle("current", hits[hit] === index);
    if (!wanted || !textOf(index).toLowerCase().includes(wanted.toLowerCase())) return;
    element.classList.add("hit");
  };

  const look = () => {
    const wanted = search.value.toLowerCase();
    hits = [];
    hit = -1;
    if (wanted) for (let index = 0; index < lines.length; index += 1) if (textOf(index).toLowerCase().includes(wanted)) hits.push(index);
    say();
    redraw();
  };

  const say = () => {
    if (!search.value) found.textContent = "";
    else if (hits.length === 0) found.textContent = "not found";
    else found.textContent = hit < 0 ? counted(hits.length) : `${hit + 1} of ${hits.length}`;
  };

  const go = (by) => {
    if (hits.length === 0) return;
    hit = hit < 0 ? (by > 0 ? 0 : hits.length - 1) : (hit + by + hits.length) % hits.length;
    reveal(hits[hit]);
    say();
    redraw();
  };

  const reveal = (index) => {
    setFollowing(false);
    stretch(); // or there is nowhere to scroll to yet
    view.scrollTop = Math.max(0, index * height - view.clientHeight / 2);
  };

  search.addEventListener("input", look);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      search.value = "";
      look();
      view.focus();
    }
  });
  log.querySelector("[data-log-next]").addEventListener("click", () => go(1));
  log.querySelector("[data-log-previous]").addEventListener("click", () => go(-1));

  // --- following, until the reader scrolls away

  const setFollowing = (value) => {
    following = value;
    follow.setAttribute("aria-pressed", String(value));
    if (value) schedule();
  };
  follow.addEventListener("click", () => setFollowing(!following));
  view.addEventListener("scroll", () => {
    const atEnd = view.scrollTop + view.clientHeight >= view.scrollHeight - height * 2;
    if (following && !atEnd && view.scrollTop < before) setFollowing(false);
    before = view.scrollTop;
    schedule();
  });
  view.addEventListener("keydown", (event) => {
    if (event.key === "End") {
      event.preventDefault();
      setFollowing(true);
    } else if (event.key === "Home") {
      event.preventDefault();
      setFollowing(false);
      view.scrollTop = 0;
    } else if (event.key === "/") {
      event.preventDefault();
      search.focus();
    }
  });
  addEventListener("resize", schedule);

  // --- links to lines: #L12 or #L12-L20, the second by a click with Shift

  const readMark = () => {
    const match = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash);
    if (!match) return null;
    const ends = [Number(match[1]), Number(match[2] ?? match[1])];
    return ends[0] <= ends[1] ? ends : [ends[1], ends[0]];
  };
  const showMark = (jump) => {
    marked = readMark();
    if (marked && jump && marked[0] <= lines.length) {
      reveal(marked[0] - 1);
      sought = false;
    }
    redraw();
  };
  let sought = Boolean(readMark());
  marked = readMark();
  addEventListener("hashchange", () => showMark(true));
  list.addEventListener("click", (event) => {
    const link = event.target.closest("a.number");
    if (!link) return;
    event.preventDefault();
    const number = Number(link.textContent);
    const hash = event.shiftKey && marked ? `#L${Math.min(marked[0], number)}-L${Math.max(marked[0], number)}` : `#L${number}`;
    history.replaceState(null, "", hash);
    setFollowing(false);
    showMark(false);
  });

  // --- the stream

  const take = (fresh) => {
    const known = lines.length;
    for (const line of fresh) if (line[0] === lines.length + 1) lines.push(line);
    if (search.value) {
      const wanted = search.value.toLowerCase();
      for (let index = known; index < lines.length; index += 1) if (textOf(index).toLowerCase().includes(wanted)) hits.push(index);
      say();
    }
    if (sought && marked && marked[0] <= lines.length) showMark(true);
    schedule();
  };

  // What stands above the log: state, steps, what can be done. The server made it, like the page itself.
  const summary = (event) => {
    const part = document.getElementById("deployment");
    const all = () => [...part.querySelectorAll("a, button, summary")];
    const sign = (it) => [it.tagName, it.getAttribute("href"), it.closest("form")?.getAttribute("action"), it.textContent].join();
    const focused = part.contains(document.activeElement) ? sign(document.activeElement) : "";
    const fresh = document.createElement("template");
    fresh.innerHTML = JSON.parse(event.data).html;
    part.replaceChildren(fresh.content);
    if (focused) all().find((it) => sign(it) === focused)?.focus();
    const title = part.querySelector("[data-title]");
    if (title) document.title = title.dataset.title;
  };

  let source = null;
  let over = false;
  let removed = false;
  let place = ""; // where the stream goes on after a break

  const close = () => {
    source?.close();
    source = null;
  };

  const end = (text) => {
    over = true;
    close();
    note.textContent = text;
  };

  const handlers = {
    lines: (event) => take(JSON.parse(event.data)),
    page: summary,
    removed: () => {
      removed = true;
    },
    end: () => {
      end(removed ? "The log was removed." : lines.length === 0 ? "The log is empty." : counted(lines.length));
      log.dataset.ended = "true";
      follow.hidden = true;
      schedule();
    },
    ended: () => end("Your session has ended. Sign in again."),
    open: () => {
      note.textContent = "";
    },
    error: () => {
      note.textContent = "The connection is gone; trying again.";
      // A browser comes back by itself from a break, but not from a refusal.
      if (source?.readyState === EventSource.CLOSED) refused();
    },
  };

  // One that is not looked at is closed: browsers open only six at once.
  const open = () => {
    if (source || over) return;
    source = new EventSource(log.dataset.stream + (place && `&place=${encodeURIComponent(place)}`));
    for (const [name, act] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        act(event);
        if (event.lastEventId) place = event.lastEventId;
      });
    }
  };

  const refused = async () => {
    close();
    try {
      const page = await fetch(location.href, { method: "HEAD", redirect: "manual" });
      if (page.type === "opaqueredirect") {
        end("Your session has ended. Sign in again.");
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

  list.replaceChildren();
  list.classList.add("windowed");
  log.classList.add("live");
  setFollowing(following);
  open();
})();
