// What moves on a page: live parts, ticks, local times. Without it all pages work, and stand still.
"use strict";

(() => {
  const body = document.body;
  const find = (id) => document.getElementById(id);

  // --- times: the page says UTC; the title has the reader's own
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hour12: false });
  function tellLocal(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      time.dataset.local = "";
      time.title += `\n${local.format(new Date(time.dateTime))} here`;
    }
  }

  // --- live parts
  function keyOf(element) {
    return element.id || element.getAttribute("href") || element.getAttribute("name") || "";
  }
  function swap(id, html) {
    const part = find(id);
    if (!part) return;
    const focused = part.contains(document.activeElement) ? keyOf(document.activeElement) : null;
    // Of the server's own templates, which escape all that comes from a job; what is parsed so runs no script.
    part.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    tellLocal(part);
    if (focused) {
      const again = [...part.querySelectorAll("a, button, input, summary")].find((each) => keyOf(each) === focused);
      if (again) again.focus({ preventScroll: true });
    }
  }
  function away(why, what = "The server is away.") {
    const banner = find("away");
    if (!banner) return;
    banner.hidden = why === null;
    find("away-what").textContent = what;
    find("away-why").textContent = why ?? "";
  }
  function stranger(is) {
    const banner = find("stranger");
    // A page that a form led to can't be asked for again.
    const here = location.pathname.endsWith("/act") ? `${body.dataset.base}/` : location.href;
    find("stranger-again").href = here;
    if (banner.hidden === is) banner.hidden = !is;  // else it would be read out again and again
  }
  // A stream of events does not tell why it was refused; the same request does.
  async function refused(address) {
    const over = new AbortController();
    try {
      const headers = { Accept: "text/event-stream" };
      const answer = await fetch(address, { credentials: "same-origin", headers, signal: over.signal });
      return answer.status;
    } catch {
      return null;
    } finally {
      over.abort();
    }
  }
  let events = null, silent = null, retry = null;
  function expectNews() {
    clearTimeout(silent);  // a stream ends every 20 s and begins again: that alone is no news
    silent = setTimeout(() => away("This page stands still until it does.", "The dashboard itself does not answer."), 6000);
  }
  async function again(address) {
    const status = await refused(address);
    if (status !== null) clearTimeout(silent);  // it does answer
    if (status === 401 || status === 403) {
      away(null);
      stranger(true);
    } else if (status === 503) {
      away("So this page stands still for now.", "Too many pages are open.");
    }
    clearTimeout(retry);
    retry = setTimeout(() => listen(address), 5000);
  }
  function hush() {
    clearTimeout(silent);
    if (events) events.close();
    events = null;
  }
  // A browser opens six connections to a host, and a stream holds one: a page that nobody sees has none. A new stream
  // begins with all there is.
  function listen(address) {
    hush();
    clearTimeout(retry);
    if (document.hidden) return;
    const stream = new EventSource(address);
    events = stream;
    const on = (name, act) => stream.addEventListener(name, (event) => act(JSON.parse(event.data)));
    stream.onopen = () => {
      clearTimeout(silent);
      stranger(false);
    };
    stream.onerror = () => {
      if (stream !== events) return;
      expectNews();
      if (stream.readyState === EventSource.CLOSED) again(address);
    };
    on("parts", (parts) => {
      for (const [id, html] of Object.entries(parts)) swap(id, html);
    });
    on("charts", (news) => document.dispatchEvent(new CustomEvent("aiotq:charts", { detail: news.series })));
    on("away", (news) => away(news.why));
    on("back", () => {
      clearTimeout(silent);
      away(null);
      // Not at once: where this one page fails while others work, it would load without end.
      const again = document.querySelector("[data-reload-when-back]");
      if (again) setTimeout(() => location.reload(), Math.max(0, 4000 - performance.now()));
    });
    on("reload", () => {
      const busy = document.activeElement && document.activeElement.closest("form.inline");
      if (!busy) location.reload();
    });
  }
  function live(address) {
    document.addEventListener("visibilitychange", () => listen(address));
    addEventListener("pagehide", hush);
    addEventListener("pageshow", (event) => event.persisted && listen(address));
    listen(address);
  }

  // --- ticks
  function ticks() {
    const boxes = [...document.querySelectorAll('#chosen input[name="job"]')];
    const all = find("tick-all"), said = find("ticked");
    if (!all || !said) return;
    const count = boxes.filter((box) => box.checked).length;
    all.checked = count > 0 && count === boxes.length;
    all.indeterminate = count > 0 && count < boxes.length;
    said.textContent = count ? `${count} ticked` : "none ticked";
  }
  document.addEventListener("change", (event) => {
    if (event.target.id === "tick-all") {
      for (const box of document.querySelectorAll('#chosen input[name="job"]')) box.checked = event.target.checked;
    }
    ticks();
  });
  // Shift and a click, or shift and space, tick a run of rows.
  let last = null;
  document.addEventListener("click", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || box.name !== "job") return;
    if (event.shiftKey && last && last !== box) {
      const boxes = [...document.querySelectorAll('#chosen input[name="job"]')];
      const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
      if (from >= 0) for (const each of boxes.slice(from, to + 1)) each.checked = box.checked;
    }
    last = box;
    ticks();
  });

  // --- a key: "/" finds a job, as on many sites
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && find("find")) {
      event.preventDefault();
      find("find").focus();
    }
  });

  // --- a link from elsewhere brings no session cookie; this look of the page's own does
  const login = document.querySelector("[data-session]");
  if (login) {
    fetch(login.dataset.session, { credentials: "same-origin" }).then((answer) => {
      if (answer.status === 204) location.replace(login.dataset.next);
    });
  }

  document.addEventListener("htmx:afterSwap", () => {
    tellLocal(document);
    ticks();
  });
  // A page that says what was wrong with a filter is a page too.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status >= 400) location.assign(event.detail.xhr.responseURL);
  });
  tellLocal(document);
  ticks();
  if (body.dataset.events && !login) live(body.dataset.events);
})();
