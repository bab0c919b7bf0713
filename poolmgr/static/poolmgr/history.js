/* Draws the charts of history in place of the drawings that the page came with: a cursor that all share, a stretch that is
   dragged over is what the page shows next. Without this the page has the same figures, drawn and in tables. */
"use strict";

(() => {
  const place = document.getElementById("pm-plots");
  const told = document.getElementById("pm-past");
  if (!place || !told || !window.uPlot) return;

  const past = JSON.parse(told.textContent);
  const page = place.closest(".pm-history");
  const language = document.documentElement.lang || "en";
  const zone = place.dataset.zone;
  const drawings = [...place.querySelectorAll(".pm-drawing")].map((node) => ({
    node,
    unit: node.dataset.unit,
    key: node.dataset.chart,
    reads: [...node.closest("section").querySelectorAll(".pm-read")],
    lines: [...node.querySelectorAll("path[data-style]")].map((path) => ({ ...path.dataset })),
    plot: null,
  }));
  for (const drawing of drawings) drawing.data = stacked(drawing.lines, past.charts[drawing.key]);
  const DAY = 86400;
  const MARGIN = 16; // above the lines, for the numbers of marks

  /* What is stacked stands on the line before it; nothing on it is no line. */
  function stacked(lines, figures) {
    return figures.map((values, index) => {
      if (lines[index].style !== "stack") return values;
      return values.map((value, at) => (value ? value + (figures[index - 1][at] ?? 0) : null));
    });
  }

  /* -- in words -- */

  function clock(options) {
    try {
      return new Intl.DateTimeFormat(language, { timeZone: zone, hourCycle: "h23", ...options });
    } catch {
      return new Intl.DateTimeFormat(undefined, { hourCycle: "h23", ...options });
    }
  }

  const hours = clock({ hour: "2-digit", minute: "2-digit" });
  const seconds = clock({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const days = clock({ month: "short", day: "numeric" });
  const dated = clock({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const counts = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  const digits = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });

  function moments(plot, splits, axis, space, step) {
    return splits.map((at) => {
      const when = new Date(at * 1000);
      if (step >= DAY) return days.format(when);
      if (past.to - past.from > DAY) return dated.format(when);
      return (step < 60 ? seconds : hours).format(when);
    });
  }

  function duration(value) {
    if (value < 0.0009995) return `${digits.format(value * 1e6)} µs`;
    if (value < 0.9995) return `${digits.format(value * 1e3)} ms`;
    return `${digits.format(value)} s`;
  }

  function figure(unit, value) {
    if (value === null || value === undefined) return "–";
    return unit === "seconds" ? duration(value) : counts.format(value);
  }

  /* -- colours, which are the page's -- */

  function colour(name) {
    return getComputedStyle(page).getPropertyValue(name).trim() || "#666";
  }

  function faded(name, share) {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = colour(name);
    const text = probe.fillStyle; // #rrggbb, whatever it was
    return text.startsWith("#") ? text + Math.round(share * 255).toString(16).padStart(2, "0") : text;
  }

  /* -- a chart -- */

  function lonely(plot, index) {
    const values = plot.data[index];
    const found = [];
    values.forEach((value, at) => {
      if (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) found.push(at);
    });
    return found;
  }

  function series(line) {
    const stroke = colour(`--pm-of-${line.colour}`);
    const made = {
      stroke,
      width: 1.5,
      spanGaps: false,
      points: { show: true, size: 4, fill: stroke, filter: lonely },
    };
    if (line.style === "limit") made.dash = [4, 3];
    if (line.style === "area") Object.assign(made, { fill: faded(`--pm-of-${line.colour}`, 0.35), width: 1 });
    if (line.style === "stack") made.width = 0.5;
    if (line.style === "bars") {
      const paths = uPlot.paths.bars({ size: [0.9, 40], align: 0 });
      Object.assign(made, { fill: faded(`--pm-of-${line.colour}`, 0.7), width: 0, paths, points: { show: false } });
    }
    return made;
  }

  function states(state) {
    return state === "critical" || state === "warning" ? `--pm-${state}` : state ? "--pm-unknown" : "--body-quiet-color";
  }

  /* Episodes as bands, edits and orders as flags, each with the number that it has in the list. */
  function drawMarks(plot) {
    const { ctx, bbox } = plot;
    const ratio = window.devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${11 * ratio}px ${getComputedStyle(page).fontFamily}`;
    ctx.textBaseline = "top";
    let free = -Infinity;
    for (const mark of past.marks) {
      const name = states(mark.state);
      const from = Math.max(bbox.left, plot.valToPos(Math.max(mark.from, past.from), "x", true));
      const to = plot.valToPos(Math.min(mark.to ?? past.to, past.to), "x", true);
      ctx.fillStyle = faded(name, 0.12);
      if (mark.state) ctx.fillRect(from, bbox.top, Math.max(ratio, to - from), bbox.height);
      ctx.strokeStyle = ctx.fillStyle = colour(name);
      ctx.lineWidth = ratio;
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(from, bbox.top - (from >= free ? (MARGIN - 4) * ratio : 0));
      ctx.lineTo(from, bbox.top + bbox.height);
      ctx.stroke();
      const text = String(mark.number);
      if (from >= free) {
        ctx.fillText(text, from + 3 * ratio, bbox.top - (MARGIN - 3) * ratio);
        free = from + ctx.measureText(text).width + 8 * ratio;
      }
    }
    ctx.restore();
  }

  function read(drawing, plot) {
    const at = plot.cursor.idx;
    drawing.reads.forEach((node, index) => {
      const values = past.charts[drawing.key][index];
      let value = at === null || at === undefined ? null : values[at];
      if (at === null || at === undefined) value = [...values].reverse().find((each) => each !== null) ?? null;
      const text = figure(drawing.unit, value);
      if (node.textContent !== text) node.textContent = text;
    });
  }

  /* What was dragged over is the address of the next page. */
  function show(plot) {
    if (plot.select.width < 6) return;
    let from = plot.posToVal(plot.select.left, "x");
    let to = plot.posToVal(plot.select.left + plot.select.width, "x");
    if (to - from < 60) [from, to] = [(from + to) / 2 - 30, (from + to) / 2 + 31];
    const query = new URLSearchParams(window.location.search);
    query.delete("range");
    query.set("from", String(Math.floor(from)));
    query.set("to", String(Math.ceil(to)));
    window.location.search = query.toString();
  }

  function options(drawing) {
    const axis = { stroke: colour("--body-quiet-color"), font: `11px ${getComputedStyle(page).fontFamily}` };
    const grid = { stroke: colour("--hairline-color"), width: 1 };
    const ticks = { show: false };
    const byMagnitude = drawing.unit === "seconds";
    return {
      width: Math.max(200, drawing.node.clientWidth),
      height: drawing.node.clientHeight,
      padding: [MARGIN, 8, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "pm-history" }, drag: { x: true, y: false, setScale: false }, points: { size: 5 } },
      scales: {
        x: { time: true, range: [past.from, past.to] },
        y: byMagnitude
          ? { distr: 3, range: (plot, low, high) => [Math.max(1e-6, (low ?? 1e-3) / 2), (high ?? 1) * 1.5] }
          : { range: (plot, low, high) => [0, Math.max(1, (high ?? 1) * 1.08)] },
      },
      axes: [
        { ...axis, grid, ticks, values: moments, space: 70, size: 24, gap: 2 },
        {
          ...axis,
          grid: byMagnitude ? { ...grid, filter: powers } : grid,
          ticks,
          size: 56,
          gap: 4,
          space: 24,
          incrs: byMagnitude ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7, 1e8],
          values: (plot, splits) => splits.map((value) => (value === null ? "" : figure(drawing.unit, value))),
          filter: byMagnitude ? powers : undefined,
        },
      ],
      series: [{}, ...drawing.lines.map(series)],
      bands: drawing.lines.flatMap((line, index) =>
        line.style === "stack" ? [{ series: [index + 1, index], fill: faded(`--pm-of-${line.colour}`, 0.6) }] : [],
      ),
      hooks: {
        draw: [drawMarks],
        setCursor: [(plot) => read(drawing, plot)],
        setSelect: [show],
      },
    };
  }

  /* Of an axis by magnitude: ten, a hundred, a thousand. */
  function powers(plot, splits) {
    return splits.map((value) => (Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6 ? value : null));
  }

  function draw() {
    for (const drawing of drawings) {
      const data = [past.times, ...drawing.data];
      if (drawing.plot) drawing.plot.destroy();
      drawing.node.replaceChildren();
      drawing.plot = new uPlot(options(drawing), data, drawing.node);
    }
    place.dataset.drawn = "true";
    const steps = document.getElementById("pm-steps");
    if (steps) steps.textContent = steps.dataset.step;
  }

  draw();

  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    for (const { node, plot } of drawings) plot.setSize({ width: Math.max(200, node.clientWidth), height: node.clientHeight });
  }).observe(place);

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
})();
