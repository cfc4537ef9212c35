// Takes the page anew every ten seconds; the page is whole without this.
"use strict";
(() => {
  const EVERY_MS = 10_000;
  const live = document.getElementById("live");
  const clock = document.querySelector("header .clock");
  async function refresh() {
    if (document.hidden || document.activeElement?.matches("input, select, svg a")) return;
    try {
      const reply = await fetch(location.href, { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
      const part = fresh.getElementById("live");
      if (part === null) return;
      for (const open of live.querySelectorAll("details[open]")) part.querySelector(`#${open.id}`)?.setAttribute("open", "");
      live.replaceChildren(...part.childNodes);
      clock.replaceWith(fresh.querySelector("header .clock"));
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  }
  if (document.body.dataset.still === undefined) setInterval(refresh, EVERY_MS);
})();
