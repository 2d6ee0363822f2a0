// The only script of the site. Everything works without it; with it a draft is
// kept in the browser, the photo is shown, and a filing is sent again by itself
// while the town hall changes sites: the token makes it count once.
(() => {
  "use strict";
  const day = 24 * 3600 * 1000;
  const patience = 120 * 1000; // how long a filing is tried
  const stall = [5000, 7000, 10000]; // no sign of life for so long: try again
  const again = new Set([0, 502, 503, 504]);

  const store = {
    get(key) { try { return JSON.parse(localStorage.getItem(key)); } catch { return null; } },
    set(key, v) { try { localStorage.setItem(key, JSON.stringify(v)); } catch { /* private mode: no draft */ } },
    drop(key) { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } },
  };

  // --- the draft -----------------------------------------------------------
  const fields = (form) => [...form.elements].filter((e) => e.name && !["file", "hidden", "submit", "button"].includes(e.type) && e.name !== "photo-retirer");
  const token = (form) => new URL(form.action).searchParams.get("jeton");

  function setToken(form, t) {
    const u = new URL(form.action);
    u.searchParams.set("jeton", t);
    form.action = u;
  }

  // What was sent may be filed already. Changed words are another filing, and
  // need another token: rather one case too many than words that nobody reads.
  function freshToken() {
    const b = crypto.getRandomValues(new Uint8Array(26));
    return [...b].map((x) => "abcdefghijklmnopqrstuvwxyz234567"[x & 31]).join("");
  }

  function edited(form) {
    if (form.dataset.sent === "yes") setToken(form, freshToken());
    delete form.dataset.sent;
    keepDraft(form, false);
  }

  function values(form) {
    const out = {};
    for (const e of fields(form)) if (e.type !== "radio" || e.checked) out[e.name] = e.value;
    return out;
  }

  function keepDraft(form, sent) {
    const v = values(form);
    const key = "brouillon:" + form.dataset.filing;
    if (!sent && !Object.values(v).some((x) => x)) return store.drop(key);
    store.set(key, { at: Date.now(), token: token(form), values: v, sent });
  }

  function restoreDraft(form) {
    const key = "brouillon:" + form.dataset.filing;
    const d = store.get(key);
    if (!d || form.dataset.fresh !== "yes") return;
    if (!d.values || Date.now() - d.at > day) return store.drop(key);
    for (const e of fields(form)) {
      if (!(e.name in d.values)) continue;
      if (e.type === "radio") e.checked = e.value === d.values[e.name];
      else if (!e.value) e.value = d.values[e.name];
    }
    if (/^[a-z2-7]{26}$/.test(d.token)) setToken(form, d.token);
    if (d.sent) form.dataset.sent = "yes";
    const box = document.querySelector("[data-draft]");
    box.querySelector("[data-draft-text]").textContent = d.sent ? form.dataset.unsure : form.dataset.restored;
    box.hidden = false;
    box.querySelector("[data-draft-clear]").addEventListener("click", () => { store.drop(key); location.reload(); });
  }

  // --- the photo -----------------------------------------------------------
  function preview(box, form) {
    const input = box.querySelector("input[type=file]");
    const img = document.createElement("img");
    img.className = "preview";
    img.alt = "";
    img.hidden = true;
    const warn = document.createElement("p");
    warn.className = "fault";
    warn.setAttribute("role", "alert");
    warn.hidden = true;
    input.after(warn, img);
    input.addEventListener("change", () => {
      const f = input.files[0];
      if (img.src) URL.revokeObjectURL(img.src);
      img.hidden = !f;
      if (f) img.src = URL.createObjectURL(f);
      warn.hidden = !f || f.size <= 10 * 1024 * 1024;
      warn.textContent = warn.hidden ? "" : form.dataset.tooLarge;
    });
    img.addEventListener("error", () => { img.hidden = true; });
  }

  // --- sending -------------------------------------------------------------
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // One attempt. XMLHttpRequest and not fetch, because it tells how far an
  // upload has come: a slow telephone is not a dead server.
  function attempt(form, body, wait) {
    return new Promise((done) => {
      const x = new XMLHttpRequest();
      let timer;
      const alive = () => { clearTimeout(timer); timer = setTimeout(() => x.abort(), wait); };
      const end = () => { clearTimeout(timer); done({ status: x.status, url: x.responseURL, text: x.status ? x.responseText : "" }); };
      x.open("POST", form.action);
      x.upload.addEventListener("progress", alive);
      x.addEventListener("progress", alive);
      x.addEventListener("loadend", end);
      alive();
      x.send(body);
    });
  }

  async function send(form, say) {
    const started = Date.now();
    const body = new FormData(form); // before anything is disabled
    for (let n = 0; Date.now() - started < patience; n++) {
      if (navigator.onLine === false) {
        say(form.dataset.offline);
        await pause(1000);
        continue;
      }
      say(n === 0 ? form.dataset.sending : form.dataset.waiting);
      const r = await attempt(form, body, stall[Math.min(n, stall.length - 1)]);
      if (!again.has(r.status)) return r;
      await pause(Math.min(250 * 2 ** n, 2000) * (0.75 + Math.random() / 2));
    }
    return null;
  }

  // The answer is a whole page: it takes the place of this one, so that no
  // second request can fail between the acknowledgment and the reader.
  function show(r) {
    const page = new DOMParser().parseFromString(r.text, "text/html");
    if (!page.querySelector("main")) return false;
    document.title = page.title;
    document.body.replaceWith(document.adoptNode(page.body));
    if (r.url && r.url !== location.href) history.pushState(null, "", r.url);
    start();
    const focus = document.querySelector(".faults") || document.querySelector("main");
    focus.focus();
    scrollTo(0, 0);
    return true;
  }

  function filing(form) {
    restoreDraft(form);
    form.addEventListener("input", () => edited(form));
    for (const box of form.querySelectorAll("[data-photo]")) preview(box, form);
    const progress = form.querySelector("[data-progress]");
    const button = form.querySelector("[data-submit]");
    const say = (words) => { if (progress.textContent !== words) progress.textContent = words; };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.getAttribute("aria-disabled") === "true") return;
      keepDraft(form, true);
      form.dataset.sent = "yes";
      button.setAttribute("aria-disabled", "true");
      form.classList.add("busy");
      const r = await send(form, say);
      button.removeAttribute("aria-disabled");
      form.classList.remove("busy");
      if (r && r.status === 422) keepDraft(form, false);
      if (!r || !show(r)) say(form.dataset.gaveUp);
    });
  }

  // --- every page ----------------------------------------------------------
  function start() {
    for (const form of document.querySelectorAll("form[data-filing]")) filing(form);
    for (const form of document.querySelectorAll("form[data-once]")) {
      form.addEventListener("submit", (e) => {
        if (form.dataset.gone) e.preventDefault();
        form.dataset.gone = "yes";
      });
    }
    for (const r of document.querySelectorAll("[data-receipt]")) store.drop("brouillon:" + r.dataset.receipt);
    for (const b of document.querySelectorAll("[data-print]")) {
      b.hidden = false;
      b.addEventListener("click", () => print());
    }
    const faults = document.querySelector(".faults");
    if (faults) faults.focus();
  }
  addEventListener("popstate", () => location.reload());
  addEventListener("pageshow", (e) => { if (e.persisted) for (const f of document.querySelectorAll("form[data-once]")) delete f.dataset.gone; });
  start();
})();
