// The charts of the overview, drawn by uPlot; each has the same numbers as a table, for who can't see or point.
"use strict";

(() => {
  const holder = document.getElementById("charts");
  if (!holder || !window.uPlot) return;
  const two = (number) => String(number).padStart(2, "0");
  const clock = (second) => {
    const at = new Date(second * 1000);
    return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  };
  const length = (ms) => (ms === null || ms === undefined ? "–" : ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);
  const count = (number) => (number === null || number === undefined ? "–" : number.toLocaleString("en"));
  const CHARTS = {
    throughput: { unit: count, lines: [["enqueued", "enqueued", 1], ["succeeded", "succeeded", 2]] },
    latency: {
      unit: length, log: true,
      lines: [["waited_p50", "waited p50", 1], ["waited_p95", "waited p95", 5], ["ran_p50", "ran p50", 2], ["ran_p95", "ran p95", 4]],
    },
    failures: { unit: count, lines: [["failed", "failed", 3], ["retried", "retried", 4], ["lost", "lost", 5]] },
  };
  const drawn = new Map();
  let series = JSON.parse(holder.dataset.series);

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const columns = (lines) => [series.at, ...lines.map(([key]) => series[key])];

  function draw(figure) {
    const { lines, unit, log } = CHARTS[figure.dataset.chart];
    const plot = figure.querySelector(".plot");
    drawn.get(figure)?.destroy();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 } };
    const options = {
      width: plot.clientWidth || 320, height: 190,
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: true }, y: log ? { distr: 3, range: (u, low, high) => [Math.max(0.5, (low || 1) / 2), (high || 1000) * 2] } : { range: (u, low, high) => [0, Math.max(high || 0, 1) * 1.1] } },
      axes: [
        { ...axis, values: (u, seconds) => seconds.map(clock), space: 55 },
        { ...axis, size: 62, values: (u, values) => values.map((value) => (value === null ? "" : unit(value))) },
      ],
      series: [
        { label: "UTC", value: (u, second) => (second === null ? "–" : clock(second)) },
        ...lines.map(([, label, number], index) => ({
          label, stroke: colour(`--series-${number}`), width: 2, dash: index % 2 ? [6, 4] : undefined, spanGaps: false,
          points: { show: log, size: 4 }, value: (u, value) => unit(value),
        })),
      ],
    };
    drawn.set(figure, new uPlot(options, columns(lines), plot));
  }

  function fill(figure) {
    const { lines, unit } = CHARTS[figure.dataset.chart];
    const rows = figure.querySelector(".rows");
    if (!figure.querySelector("details").open) return;
    const table = document.createElement("table");
    const row = (cells, tag) => {
      const line = table.insertRow();
      for (const text of cells) {
        const cell = document.createElement(tag);
        cell.textContent = text;
        cell.className = "n";
        line.append(cell);
      }
    };
    row(["UTC", ...lines.map(([, label]) => label)], "th");
    for (let at = series.at.length - 1; at >= 0; at--) {
      row([clock(series.at[at]), ...lines.map(([key]) => unit(series[key][at]))], "td");
    }
    rows.replaceChildren(table);
  }

  const figures = [...holder.querySelectorAll("[data-chart]")];
  for (const figure of figures) {
    draw(figure);
    figure.querySelector("details").addEventListener("toggle", () => fill(figure));
  }
  document.addEventListener("aiotq:charts", (event) => {
    series = event.detail;
    for (const figure of figures) {
      drawn.get(figure).setData(columns(CHARTS[figure.dataset.chart].lines));
      fill(figure);
    }
  });
  let waiting = null;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const figure of figures) drawn.get(figure).setSize({ width: figure.querySelector(".plot").clientWidth, height: 190 });
    }, 100);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => figures.forEach(draw));
})();
