// Draws the candles of a series over the line that the page came with.
"use strict";
(() => {
  const place = document.getElementById("plot");
  if (place === null || typeof uPlot === "undefined") return;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function candles(u) {
    const { ctx, data } = u;
    const step = data[0].length > 1 ? u.valToPos(data[0][1], "x", true) - u.valToPos(data[0][0], "x", true) : 8;
    const body = Math.max(1, Math.min(14, step * 0.7));
    const rise = colour("--good");
    const fall = colour("--bad");
    ctx.save();
    for (let at = 0; at < data[0].length; at += 1) {
      const x = Math.round(u.valToPos(data[0][at], "x", true));
      const [open, high, low, close] = [1, 2, 3, 4].map((row) => u.valToPos(data[row][at], "y", true));
      ctx.fillStyle = close <= open ? rise : fall; // pixels count downwards
      ctx.fillRect(x, high, 1, Math.max(1, low - high));
      ctx.fillRect(x - body / 2, Math.min(open, close), body, Math.max(1, Math.abs(close - open)));
    }
    ctx.restore();
  }

  async function draw() {
    const reply = await fetch(place.dataset.candles, { cache: "no-store" });
    if (!reply.ok) return;
    const found = await reply.json();
    if (found.open_time.length < 2) return;
    const numbers = ["open", "high", "low", "close", "volume"].map((name) => found[name].map(Number));
    const none = () => null;
    const thin = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--soft"), grid: thin, ticks: thin };
    const text = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
    const days = found.open_time.at(-1) - found.open_time[0] > 2 * 86_400_000;
    const times = { ...axis, values: (_, marks) => marks.map((at) => (days ? text(at).slice(5) : text(at).slice(11))) };
    const shown = (label) => ({ label, paths: none, points: { show: false } });
    place.replaceChildren();
    const plot = new uPlot(
      {
        width: place.clientWidth, height: 320, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        series: [{ label: "UTC", value: (_, at) => (at === null ? "" : text(at)) }, shown("open"), shown("high"), shown("low"), shown("close"), { ...shown("volume"), scale: "volume" }],
        scales: { volume: { auto: true } },
        axes: [times, { ...axis, size: 70 }],
        hooks: { draw: [candles] },
      },
      [found.open_time.map((ms) => ms / 1000), ...numbers],
      place,
    );
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 320 })).observe(place.parentElement);
  }
  draw();
})();
