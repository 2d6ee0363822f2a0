// Forms, and the live page: takes the sections that the server has drawn anew and puts them
// in their places. Without it the page loads itself again.
(() => {
  "use strict";
  // A form that must not be sent twice by a double click.
  document.addEventListener("submit", (e) => {
    if (!e.target.matches("[data-once]")) return;
    if (e.target.dataset.sent) e.preventDefault();
    e.target.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((f) => delete f.dataset.sent));

  const url = document.body.dataset.stream;
  const lost = document.getElementById("lost");
  if (!url || !window.EventSource) return;

  // put keeps the focus and the scroll of what is replaced.
  function put(id, html) {
    const at = document.getElementById(id);
    if (!at) return;
    const focus = at.contains(document.activeElement) ? document.activeElement : null;
    const href = focus && focus.getAttribute("href");
    const list = at.querySelector(".events");
    const top = list ? list.scrollTop : 0;
    at.innerHTML = html;
    const next = at.querySelector(".events");
    if (next) next.scrollTop = top;
    if (!focus) return;
    const same = href ? [...at.querySelectorAll("a")].find((a) => a.getAttribute("href") === href) : next;
    if (same) same.focus({ preventScroll: true });
  }

  let heard = Date.now();
  const say = (gone) => { if (lost.hidden === gone) lost.hidden = !gone; };
  function listen() {
    const source = new EventSource(url);
    source.onmessage = (m) => {
      heard = Date.now();
      say(false);
      const parts = JSON.parse(m.data);
      for (const id in parts) put(id, parts[id]);
    };
    source.addEventListener("end", () => { source.close(); location.assign("/login"); });
    source.onerror = () => {
      say(true);
      // A server that answers and refuses: the session is over, or it has too many pages.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
    };
  }
  listen();
  // A connection may die without a word: the clock of the page moves every few seconds.
  setInterval(() => { if (Date.now() - heard > 12000) say(true); }, 2000);
  if (location.search) history.replaceState(null, "", "/");
})();
