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

  const watch = () => {
    const source = new EventSource("/events");
    let ended = false;
    const again = (state, words) => {
      if (ended) return;
      ended = true;
      source.close();
      clearTimeout(silence);
      tell(state, words);
      setTimeout(watch, RETRY_MS);
    };
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => again("lost", "Not live: nothing was heard for 10 s."), SILENCE_MS);
    };
    source.addEventListener("state", (event) => {
      listen();
      const { title, html } = JSON.parse(event.data);
      document.title = title;
      const fresh = document.createElement("main");
      fresh.innerHTML = html;
      fresh.id = "main";
      fresh.tabIndex = -1;
      sync(main, fresh);
      tell("live", "Live.");
    });
    source.addEventListener("end", () => {
      again("ended", "Not live: the proxy is draining.");
    });
    source.addEventListener("error", () => {
      again("lost", "Not live: the proxy can't be reached, or has too many watchers.");
    });
    listen();
  };
  watch();
})();
