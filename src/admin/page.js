"use strict";
// Keeps the page as it would be if it were loaded now. The server renders; here only what differs is put in place, so
// that focus, selection and opened details stay.
(() => {
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  // As the server writes it every few seconds; three missed are a silence.
  const SILENCE_MS = 10000;
  const RETRY_MS = 10000;
  let silence;
  // How often it was tried: what comes late from an earlier try is not shown.
  let turns = 0;
  // When the state that is shown came.
  let shown = performance.now();

  const tell = (state, words) => {
    if (live.textContent !== words) live.textContent = words;
    live.dataset.state = state;
  };

  const sync = (now, next) => {
    for (const { name } of [...now.attributes]) {
      if (!next.hasAttribute(name) && name !== "open") now.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (now.getAttribute(name) !== value && name !== "open") now.setAttribute(name, value);
    }
    const olds = [...now.childNodes];
    const news = [...next.childNodes];
    const same = (a, b) => a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
    news.forEach((fresh, at) => {
      const old = olds[at];
      if (!old) now.append(fresh);
      else if (!same(old, fresh)) old.replaceWith(fresh);
      else if (fresh.nodeType === Node.ELEMENT_NODE) sync(old, fresh);
      else if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    });
    olds.slice(news.length).forEach((old) => old.remove());
  };

  const show = (title, fresh) => {
    shown = performance.now();
    document.title = title;
    fresh.id = "main";
    fresh.tabIndex = -1;
    sync(main, fresh);
  };

  // Nobody answers: what is shown is the last that was known.
  const gone = () => {
    const { phase, tunnels, left } = document.getElementById("state")?.dataset ?? {};
    const passed = (performance.now() - shown) / 1000;
    // A proxy that drains lives as long as its last tunnel.
    const mayLive = tunnels !== "0" && (left === "" || passed <= Number(left));
    if (phase !== "draining" || mayLive) {
      tell("lost", "Not live: the proxy can't be reached.");
      return;
    }
    document.title = "Ended · tidegate";
    document.getElementById("headline").textContent = "The proxy has ended";
    tell("ended", "Not live: the proxy has ended; this was its last state.");
  };

  // As the page does by itself without scripts.
  const renew = async (turn) => {
    let next;
    try {
      const reply = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(SILENCE_MS) });
      if (!reply.ok) throw new Error(reply.status);
      next = new DOMParser().parseFromString(await reply.text(), "text/html");
    } catch {
      if (turn === turns) gone();
      return;
    }
    if (turn !== turns) return;
    show(next.title, next.getElementById("main"));
    tell("renewed", "Not live: renewed every 10 s.");
  };

  const watch = () => {
    const turn = ++turns;
    const source = new EventSource("/events");
    let over = false;
    const again = () => {
      if (over) return;
      over = true;
      source.close();
      clearTimeout(silence);
      setTimeout(watch, RETRY_MS);
      renew(turn);
    };
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(again, SILENCE_MS);
    };
    source.addEventListener("state", (event) => {
      listen();
      const { title, html } = JSON.parse(event.data);
      const fresh = document.createElement("main");
      fresh.innerHTML = html;
      show(title, fresh);
      tell("live", "Live.");
    });
    source.addEventListener("error", again);
    listen();
  };
  watch();
})();
