// Time series by uPlot. The numbers come from the table beside the chart: what cannot be drawn can still be read.

const token = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

// light-dark() is resolved by the browser only where a colour is used
const colour = (element, name) => {
  const probe = document.createElement("span");
  probe.style.color = token(element, name);
  element.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
};

const STROKES = ["--accent", "--ink-2", "--amber", "--ink-3", "--env", "--line-2"];
const DASHES = [[], [6, 3], [], [2, 3], [8, 3, 2, 3], [1, 2]];

// commits, activations and stages: a thin line with its name, so that a bend has a cause
const marks = (host, items) => ({
  hooks: {
    draw: [
      (plot) => {
        const { ctx } = plot;
        ctx.save();
        ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        for (const mark of items) {
          const x = Math.round(plot.valToPos(mark.at, "x", true));
          if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
          ctx.strokeStyle = colour(host, mark.kind === "safe_mode" ? "--amber-line" : "--line-2");
          ctx.fillStyle = colour(host, mark.kind === "safe_mode" ? "--amber" : "--ink-3");
          ctx.setLineDash(mark.kind === "commit" ? [2, 3] : []);
          ctx.beginPath();
          ctx.moveTo(x, plot.bbox.top);
          ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
          ctx.stroke();
          if (mark.kind !== "commit") ctx.fillText(mark.label, x + 4 * devicePixelRatio, plot.bbox.top + 10 * devicePixelRatio);
        }
        ctx.restore();
      },
    ],
  },
});

// the table: a first column of instants, then one column a series
const read = (table) => {
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const data = [[], ...names.map(() => [])];
  for (const row of table.tBodies[0].rows) {
    data[0].push(Number(row.dataset.at));
    [...row.cells].slice(1).forEach((cell, index) => {
      data[index + 1].push(cell.dataset.value === "" ? null : Number(cell.dataset.value));
    });
  }
  return { names, data };
};

// a brushed stretch is an address: it can be shared, and every chart of the page follows
const zoom = (plot) => {
  const { left, width } = plot.select;
  if (width < 8) return;
  const there = new URL(location.href);
  there.searchParams.set("start", String(Math.floor(plot.posToVal(left, "x"))));
  there.searchParams.set("end", String(Math.ceil(plot.posToVal(left + width, "x"))));
  location.assign(there);
};

const draw = (host) => {
  const table = document.getElementById(host.dataset.table);
  const { names, data } = read(table);
  const unit = host.dataset.unit;
  const axis = { stroke: colour(host, "--ink-3"), grid: { stroke: colour(host, "--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  host.replaceChildren();
  return new uPlot({
    width: host.clientWidth,
    height: 240,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    fmtDate: uPlot.fmtDate,
    cursor: { drag: { x: true, y: false, setScale: false } },
    legend: { live: true },
    scales: { y: { range: (_, min, max) => [Math.min(0, min ?? 0), (max > 0 ? max : 1) * 1.1] } },
    axes: [{ ...axis, values: "{HH}:{mm}" }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => `${tick}${unit}`) }],
    series: [
      { label: "UTC", value: "{HH}:{mm}:{ss}" },
      ...names.map((label, index) => ({ label, stroke: colour(host, STROKES[index % STROKES.length]), dash: DASHES[index % DASHES.length], width: 1.5, spanGaps: false, points: { show: data[0].length < 3 }, value: (_, value) => (value == null ? "–" : `${Math.round(value * 1000) / 1000}${unit}`) })),
    ],
    plugins: [marks(host, JSON.parse(host.dataset.marks || "[]"))],
    hooks: { setSelect: [zoom] },
  }, data, host);
};

const charts = new Map();

const drawAll = () => {
  for (const host of document.querySelectorAll("[data-chart]")) {
    charts.get(host)?.destroy();
    charts.set(host, draw(host));
  }
};

addEventListener("DOMContentLoaded", drawAll);
addEventListener("htmx:after:swap", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let resizing;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    for (const [host, plot] of charts) if (host.isConnected) plot.setSize({ width: host.clientWidth, height: 240 });
  }, 100);
});
