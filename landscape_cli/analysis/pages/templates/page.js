"use strict";
// Holds what the reader has chosen, and draws it. The numbers are those of the file; nothing is loaded.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("plot");
  const ARRAYS = { f8: Float64Array, f4: Float32Array, u1: Uint8Array };
  const LINES = ["#1f5fa8", "#d1670c", "#2e8b57", "#8a4fbf", "#b03060", "#607080"];
  const LINES_IN_THE_DARK = ["#6ea8ea", "#f0913e", "#5cc48a", "#b98be6", "#e2709b", "#9fb0c0"];
  const MARK = "#e4572e"; // not a colour of the surface
  const darkness = window.matchMedia("(prefers-color-scheme: dark)");
  const MOST_DOTS = 2000; // more of them in a flat picture are tiles of a heat map

  // ---------------------------------------------------------------- numbers

  function unpacked(packed) {
    const bytes = Uint8Array.from(atob(packed.bdata), (character) => character.charCodeAt(0));
    return new ARRAYS[packed.dtype](bytes.buffer);
  }

  const isPlane = data.axes.length > 1;
  const x = unpacked(data.axes[0].coordinates);
  const y = isPlane ? unpacked(data.axes[1].coordinates) : null;
  const evaluated = unpacked(data.evaluated);
  const numPoints = x.length * (isPlane ? y.length : 1);
  for (const metric of data.metrics) {
    metric.values = unpacked(metric.values);
    metric.errors = metric.errors && unpacked(metric.errors);
    for (const key of ["mean", "low", "high", "known", "diverged"]) {
      if (metric.over_slices) metric.over_slices[key] = unpacked(metric.over_slices[key]);
    }
  }
  if (data.path) {
    data.path.coordinates = unpacked(data.path.coordinates);
    data.path.missed = unpacked(data.path.missed);
    data.path.distance = unpacked(data.path.distance);
  }

  // one metric of one slice: flat arrays over the points, the index of (i, j) is i * M + j
  function layerOf(metric, slice) {
    const from = slice * numPoints;
    const part = (array) => array && array.subarray(from, from + numPoints);
    return { metric, values: part(metric.values), errors: part(metric.errors), known: part(evaluated), scale: metric.scales[slice] };
  }

  // ---------------------------------------------------------------- words

  // plotly reads some HTML in its texts: names from a file are shown as they are
  function plain(text) {
    return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function exact(value) {
    return Number.isFinite(value) ? String(value) : Number.isNaN(value) ? "NaN" : value > 0 ? "+inf" : "−inf";
  }

  function rounded(value, digits) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e6 || size < 1e-4
      ? value.toExponential(Math.max(digits - 1, 0)).replace(/\.?0+e/, "e").replace("e+", "e")
      : String(Number(value.toPrecision(digits)));
  }

  function withError(value, error) {
    return Number.isFinite(error) && error !== null ? `${exact(value)} ± ${rounded(error, 2)}` : exact(value);
  }

  function wrapped(text, width) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const longer = `${lines[lines.length - 1]} ${word}`.trim();
      if (longer.length > width && lines[lines.length - 1]) lines.push(word);
      else lines[lines.length - 1] = longer;
    }
    return lines.map(plain).join("<br>");
  }

  // ---------------------------------------------------------------- scales

  // the numbers 1, 2 and 5 times a power of ten
  function niceStep(range, most) {
    const least = range / most;
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * (1 - 1e-9)) || 10 * power;
  }

  function linearTicks(low, high, most) {
    const step = niceStep(high - low, most);
    const digits = Math.min(Math.max(Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / step)) + 1, 1), 17);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step && ticks.length < 50; k += 1) {
      ticks.push({ value: Number((k * step).toPrecision(15)), text: rounded(k * step, digits) });
    }
    return digits > 7 ? differences(low, high, most) : ticks;
  }

  // for values that differ in their last digits only
  function differences(low, high, most) {
    return linearTicks(0, high - low, most).map((tick) => ({ value: low + tick.value, text: `+${tick.text}` }));
  }

  function logTicks(low, high, most) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const every = Math.max(Math.ceil((last - first) / most), 1);
    for (const factors of every > 1 ? [[1]] : [[1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let k = first; k <= last; k += every) {
        for (const factor of factors) {
          const value = Number(`${factor}e${k}`);
          if (value >= low && value <= high) ticks.push({ value, text: rounded(value, 1) });
        }
      }
      if (ticks.length >= 2 && ticks.length <= most + 1) return ticks;
    }
    return linearTicks(low, high, most);
  }

  // From values to heights and colours. WebGL counts in float32: heights of values that differ little are differences.
  function scaleOf(limits, log) {
    const shift = !log && limits.high - limits.low < 1e-3 * Math.abs(limits.low) ? limits.low : 0;
    const height = log ? Math.log10 : (value) => value - shift;
    let low = height(limits.low), high = height(limits.high);
    const isConstant = !(high > low);
    if (isConstant) {
      const pad = Math.abs(high) * 1e-3 || 1e-3;
      low -= pad;
      high += pad;
    }
    const ticks = isConstant
      ? [{ value: limits.low, text: limits.finite ? exact(limits.low) : "" }]
      : (log ? logTicks : linearTicks)(limits.low, limits.high, sizeClass() === "narrow" ? 6 : 8);
    return {
      suffix: ticks.some((tick) => tick.text.startsWith("+")) ? ` above ${exact(limits.low)}` : "",
      low, high, isConstant, height: (value) => (Number.isFinite(value) ? height(value) : NaN),
      at: ticks.map((tick) => height(tick.value)), texts: ticks.map((tick) => tick.text),
      levels: { start: low, end: high, size: isConstant ? high - low : log ? (high - low) / 14 : niceStep(high - low, 14) },
    };
  }

  // ---------------------------------------------------------------- what the reader has chosen

  const state = {
    metric: data.metrics.findIndex((metric) => metric.name === data.start.metric),
    slice: data.start.slice === null ? -1 : data.slices.indexOf(data.start.slice),
    log: data.start.log, // null: as the values are
    view: "surface",
  };
  if (isPlane) {
    if (state.metric < 0) state.metric = data.metrics.findIndex((metric) => metric.name === data.default_metrics[0]);
    state.slice = Math.max(state.slice, 0);
  }

  // the metrics of the picture: one, or on a line all losses and accuracies
  function shownMetrics() {
    return state.metric >= 0 ? [data.metrics[state.metric]] : data.metrics.filter((metric) => data.default_metrics.includes(metric.name));
  }

  function limitsOf(metric) {
    return state.slice < 0 ? metric.over_slices.scale : metric.scales[state.slice];
  }

  // on a line what stands on the left side: losses, or accuracies where there are no losses
  function leftOf(metrics) {
    const left = metrics.filter((metric) => !metric.is_share);
    return left.length ? left : metrics;
  }

  // the ranges of what stands there; those without a finite value do not count
  function limitsOfLeft() {
    return leftOf(shownMetrics()).map(limitsOf).filter((limits) => limits.finite);
  }

  function canBeLog() {
    const limits = limitsOfLeft();
    return limits.length > 0 && limits.every((each) => each.positive);
  }

  function isLog() {
    return canBeLog() && (state.log === null ? wantsLog() : state.log);
  }

  function wantsLog() {
    const limits = limitsOfLeft();
    const low = Math.min(...limits.map((each) => each.low)), high = Math.max(...limits.map((each) => each.high));
    return limits.some((each) => each.log) || (limits.length > 1 && Math.log10(high) - Math.log10(low) > Math.log10(50));
  }

  function sizeClass() {
    return plot.clientWidth < 560 ? "narrow" : "wide";
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    return { paper: colour("--paper"), ink: colour("--ink"), line: colour("--line"), missing: colour("--missing") };
  }

  // ---------------------------------------------------------------- a plane

  function pointText(layer, i, j) {
    const at = i * y.length + j;
    const value = layer.values[at];
    const shown = Number.isFinite(value) ? withError(value, layer.errors && layer.errors[at]) : `diverged: ${exact(value)}`;
    return `x = ${exact(x[i])}<br>y = ${exact(y[j])}<br>${plain(layer.metric.label)} = ${shown}`;
  }

  // Rows of y, as plotly wants them, over some of the coordinates: z[row of y][column of x].
  function rows(subgrid, of) {
    return subgrid.y.map((j) => subgrid.x.map((i) => of(i, j)));
  }

  // what of a layer is a surface, and the points that are beside it: those without a cell of four finite corners
  function partsOf(layer, subgrid) {
    const finite = (i, j) => Number.isFinite(layer.values[i * y.length + j]);
    const covered = new Uint8Array(numPoints);
    for (let a = 0; a + 1 < subgrid.x.length; a += 1) {
      for (let b = 0; b + 1 < subgrid.y.length; b += 1) {
        const corners = [[a, b], [a + 1, b], [a, b + 1], [a + 1, b + 1]].map(([c, d]) => [subgrid.x[c], subgrid.y[d]]);
        if (corners.every(([i, j]) => finite(i, j))) for (const [i, j] of corners) covered[i * y.length + j] = 1;
      }
    }
    const dots = [], diverged = [];
    for (let i = 0; i < x.length; i += 1) {
      for (let j = 0; j < y.length; j += 1) {
        const at = i * y.length + j;
        if (!layer.known[at]) continue;
        if (!finite(i, j)) diverged.push([i, j]);
        else if (!covered[at]) dots.push([i, j]);
      }
    }
    return { dots, diverged, isSurface: covered.includes(1) };
  }

  function colourBar(layer, scale, narrow) {
    return {
      title: { text: wrapped(layer.metric.quantity + scale.suffix, 34), side: narrow ? "top" : "right" }, tickvals: scale.at, ticktext: scale.texts,
      orientation: narrow ? "h" : "v", thickness: 14, outlinewidth: 0, ...(narrow ? { y: 1.01, yanchor: "bottom", len: 0.9 } : { len: 0.85 }),
    };
  }

  function planeTraces() {
    const layer = layerOf(data.metrics[state.metric], state.slice);
    const scale = scaleOf(layer.scale, isLog());
    const parts = partsOf(layer, data.filled[state.slice]);
    const coloured = {
      colorscale: "Viridis", showscale: true, colorbar: colourBar(layer, scale, sizeClass() === "narrow"),
    };
    const traces = state.view === "surface" ? solid(layer, scale, parts, coloured) : flat(layer, scale, parts, coloured);
    return { layer, scale, parts, traces };
  }

  function grid(layer, scale, subgrid) {
    return {
      x: subgrid.x.map((i) => x[i]), y: subgrid.y.map((j) => y[j]),
      z: rows(subgrid, (i, j) => scale.height(layer.values[i * y.length + j])),
      text: rows(subgrid, (i, j) => pointText(layer, i, j)), hoverinfo: "text",
    };
  }

  function points(layer, scale, chosen) {
    return {
      x: chosen.map(([i]) => x[i]), y: chosen.map(([, j]) => y[j]),
      heights: chosen.map(([i, j]) => scale.height(layer.values[i * y.length + j])),
      text: chosen.map(([i, j]) => pointText(layer, i, j)), hoverinfo: "text", mode: "markers", showlegend: false,
    };
  }

  function solid(layer, scale, parts, coloured) {
    const ink = colours();
    const traces = [];
    const range = { cmin: scale.low, cmax: scale.high };
    if (parts.isSurface) {
      traces.push({
        type: "surface", name: "surface", ...grid(layer, scale, data.filled[state.slice]), ...coloured, ...range,
        contours: { z: { show: true, ...scale.levels, usecolormap: true, width: 1, project: { z: true } } },
        lighting: { ambient: 0.75, diffuse: 0.5, specular: 0.05, roughness: 0.9 },
      });
    }
    if (parts.dots.length) {
      const { heights, ...where } = points(layer, scale, parts.dots);
      const marker = { size: 3.5, color: heights, ...coloured, ...range, showscale: !parts.isSurface };
      traces.push({ type: "scatter3d", name: "points", ...where, z: heights, marker });
    }
    if (parts.diverged.length) {
      const { heights, ...where } = points(layer, scale, parts.diverged);
      const marker = { size: 3, symbol: "circle-open", color: ink.missing };
      traces.push({ type: "scatter3d", name: "diverged", ...where, z: heights.map(() => scale.high), marker });
    }
    traces.push(...solidPath(layer, scale), ...solidCheckpoint(layer.metric, scale));
    return traces;
  }

  function flat(layer, scale, parts, coloured) {
    const ink = colours();
    const traces = [];
    const range = { zmin: scale.low, zmax: scale.high };
    const touched = data.touched[state.slice];
    const isTiles = touched.x.length > 1 && touched.y.length > 1;
    const tiles = { type: "heatmap", zsmooth: false, hoverongaps: false };
    const isContour = state.view === "contour";
    if (isTiles && parts.diverged.length) {
      traces.push({
        ...tiles, name: "diverged", ...grid(layer, scale, touched), showscale: false, colorscale: [[0, ink.missing], [1, ink.missing]],
        z: rows(touched, (i, j) => (layer.known[i * y.length + j] && !Number.isFinite(layer.values[i * y.length + j]) ? 1 : NaN)), zmin: 0, zmax: 1,
        opacity: 0.45,
      });
    }
    const hasManyDots = isTiles && parts.dots.length > MOST_DOTS;
    if (isTiles && (!isContour || hasManyDots)) {
      traces.push({ ...tiles, name: "tiles", ...grid(layer, scale, touched), ...coloured, ...range });
    }
    if (isContour && parts.isSurface) {
      traces.push({
        type: "contour", name: "contours", ...grid(layer, scale, data.filled[state.slice]), ...coloured, ...range, connectgaps: false,
        showscale: !hasManyDots, hoverongaps: false, autocontour: false, contours: { ...scale.levels, coloring: "fill", showlines: true },
        line: { width: 0.6, color: "rgba(255,255,255,.7)" },
      });
    }
    if (parts.dots.length && !hasManyDots && (isContour || !isTiles)) {
      const { heights, ...where } = points(layer, scale, parts.dots);
      const marker = {
        size: 7, color: heights, ...coloured, cmin: scale.low, cmax: scale.high, showscale: !(isContour && parts.isSurface),
        line: { width: 0.5, color: ink.ink },
      };
      traces.push({ type: "scatter", name: "points", ...where, marker });
    }
    if (parts.diverged.length && parts.diverged.length <= MOST_DOTS) {
      const { heights, ...where } = points(layer, scale, parts.diverged);
      const marker = { size: 6, symbol: "x-thin", color: ink.ink, line: { width: 1, color: ink.ink }, opacity: 0.6 };
      traces.push({ type: "scatter", name: "diverged points", ...where, marker });
    }
    traces.push(...flatPath(), ...flatCheckpoint(layer.metric));
    return traces;
  }

  // ---------------------------------------------------------------- the path of checkpoints, and the checkpoint itself

  const numAxes = data.path ? data.path.coordinates.length / (data.slices.length * data.path.names.length) : 0;
  const isKnownPath = () => Boolean(data.path) && data.path.known[Math.max(state.slice, 0)];

  function pathPoints() {
    const slice = Math.max(state.slice, 0), num = data.path.names.length;
    return data.path.names.map((name, t) => {
      const at = (slice * num + t) * numAxes;
      return {
        x: data.path.coordinates[at], y: isPlane ? data.path.coordinates[at + 1] : 0, name: name.split("/").pop(),
        missed: data.path.missed[slice * num + t], distance: data.path.distance[t],
      };
    });
  }

  function pathText(step) {
    const where = isPlane ? `x = ${exact(step.x)}<br>y = ${exact(step.y)}` : `x = ${exact(step.x)}`;
    return `${plain(step.name)}<br>${where}<br>distance ${rounded(step.distance, 4)}, of which ${rounded(100 * step.missed, 3)} % is missed`;
  }

  // The height of the drawn surface at a place: bilinear in its cell, NaN where there is no whole cell.
  function heightAt(layer, scale, subgrid, a, b) {
    const cell = (coordinates, chosen, value) => {
      let low = 0, high = chosen.length - 1;
      if (high < 1 || !(value >= coordinates[chosen[0]] && value <= coordinates[chosen[high]])) return null;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (coordinates[chosen[middle]] <= value) low = middle;
        else high = middle;
      }
      const from = coordinates[chosen[low]];
      return [chosen[low], chosen[high], (value - from) / (coordinates[chosen[high]] - from)];
    };
    const across = cell(x, subgrid.x, a), up = cell(y, subgrid.y, b);
    if (!across || !up) return NaN;
    const [i, i1, u] = across, [j, j1, v] = up;
    const corner = (p, q) => scale.height(layer.values[p * y.length + q]);
    return (1 - u) * ((1 - v) * corner(i, j) + v * corner(i, j1)) + u * ((1 - v) * corner(i1, j) + v * corner(i1, j1));
  }

  // What lies on the surface lies a little above it, or the surface would cover half of it.
  const lift = (scale) => 0.02 * (scale.high - scale.low);

  function solidPath(layer, scale) {
    if (!isKnownPath()) return [];
    const steps = pathPoints(), subgrid = data.filled[state.slice];
    const height = (a, b) => heightAt(layer, scale, subgrid, a, b) + lift(scale);
    const line = { x: [], y: [], z: [] };
    for (let t = 0; t + 1 < steps.length; t += 1) {
      for (let part = t ? 1 : 0; part <= 16; part += 1) { // between checkpoints the line lies on the surface, too
        const share = part / 16;
        const a = steps[t].x + share * (steps[t + 1].x - steps[t].x), b = steps[t].y + share * (steps[t + 1].y - steps[t].y);
        line.x.push(a);
        line.y.push(b);
        line.z.push(height(a, b));
      }
    }
    const ink = colours();
    return [
      { type: "scatter3d", mode: "lines", name: "path", ...line, line: { width: 5, color: MARK }, hoverinfo: "skip", showlegend: false },
      {
        type: "scatter3d", mode: "markers", name: "path checkpoints", x: steps.map((step) => step.x), y: steps.map((step) => step.y),
        z: steps.map((step) => height(step.x, step.y)), text: steps.map(pathText), hoverinfo: "text", showlegend: false,
        marker: { size: 4, color: MARK, symbol: steps.map((_, t) => (t ? "circle" : "square")), line: { width: 1, color: ink.paper } },
      },
    ];
  }

  function flatPath() {
    if (!isKnownPath()) return [];
    const steps = pathPoints();
    const where = { x: steps.map((step) => step.x), y: steps.map((step) => step.y), type: "scatter", showlegend: false };
    return [
      { ...where, mode: "lines", name: "path outline", line: { width: 4, color: "#262626" }, hoverinfo: "skip" },
      {
        ...where, mode: "lines+markers", name: "path", text: steps.map(pathText), hoverinfo: "text", line: { width: 2, color: "#ffffff" },
        marker: { size: 7, color: "#ffffff", symbol: steps.map((_, t) => (t ? "circle" : "square")), line: { width: 1, color: "#262626" } },
      },
    ];
  }

  const isAtOrigin = isPlane && x[0] <= 0 && x[x.length - 1] >= 0 && y[0] <= 0 && y[y.length - 1] >= 0;

  function checkpointText(metric) {
    const value = metric.centre === null ? "not finite, or not known" : withError(metric.centre, metric.centre_error);
    return `the checkpoint<br>${plain(metric.label)} = ${value}`;
  }

  function solidCheckpoint(metric, scale) {
    const height = metric.centre === null ? NaN : scale.height(metric.centre);
    if (!isAtOrigin || !Number.isFinite(height)) return [];
    const marker = { size: 6, symbol: "diamond", color: MARK, line: { width: 1, color: colours().paper } };
    return [{
      type: "scatter3d", mode: "markers", name: "checkpoint", x: [0], y: [0], z: [height + lift(scale)], marker, text: [checkpointText(metric)],
      hoverinfo: "text", showlegend: false,
    }];
  }

  function flatCheckpoint(metric) {
    if (!isAtOrigin) return [];
    const marker = { size: 11, symbol: "cross", color: "#ffffff", line: { width: 1, color: "#262626" } };
    return [{
      type: "scatter", mode: "markers", name: "checkpoint", x: [0], y: [0], marker, text: [checkpointText(metric)], hoverinfo: "text",
      showlegend: false,
    }];
  }

  // ---------------------------------------------------------------- a line

  function lineTraces() {
    const metrics = shownMetrics(), left = leftOf(metrics);
    return metrics.flatMap((metric) => lineOf(metric, left.includes(metric)));
  }

  function lineOf(metric, isLeft) {
    const colour = (darkness.matches ? LINES_IN_THE_DARK : LINES)[Math.max(data.splits.indexOf(metric.split), 0) % LINES.length];
    const all = state.slice < 0;
    const layer = all ? null : layerOf(metric, state.slice);
    const of = all ? metric.over_slices : null;
    const indices = [...x.keys()].filter((i) => (all ? of.known[i] : layer.known[i]));
    const values = indices.map((i) => (all ? of.mean[i] : layer.values[i]));
    const hasBand = all && data.num_slices > 1;
    const text = indices.map((i, k) => {
      if (!hasBand) {
        const one = layer || layerOf(metric, 0);
        return `${plain(metric.label)} = ${withError(one.values[i], one.errors && one.errors[i])}`;
      }
      if (of.diverged[i]) return `${plain(metric.label)}: diverged in a slice`;
      return `${plain(metric.label)} = ${exact(values[k])}<br>range ${exact(of.low[i])} … ${exact(of.high[i])}`;
    });
    const where = { x: indices.map((i) => x[i]), yaxis: isLeft ? "y" : "y2", type: "scatter" };
    const traces = [];
    if (hasBand) {
      const edge = { ...where, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
      for (const [from, to] of unbroken(indices.map((i) => of.low[i]))) {
        const part = (values) => ({ x: where.x.slice(from, to), y: values.slice(from, to) });
        traces.push({ ...edge, ...part(indices.map((i) => of.low[i])), name: "lowest" });
        traces.push({ ...edge, ...part(indices.map((i) => of.high[i])), name: "highest", fill: "tonexty", fillcolor: `${colour}2e` });
      }
    }
    traces.push({
      ...where, y: values.map((value) => (Number.isFinite(value) ? value : NaN)), mode: indices.length < x.length || x.length < 2 ? "lines+markers" : "lines",
      name: plain(metric.label), line: { color: colour, width: 2.2, dash: isLeft ? "solid" : "dash" }, text, hovertemplate: "%{text}<extra></extra>",
      connectgaps: false,
    });
    const lost = [...x.keys()].filter((i) => (all ? of.diverged[i] : layer.known[i] && !Number.isFinite(layer.values[i])));
    if (lost.length) {
      const words = lost.map((i) => `x = ${exact(x[i])}<br>${plain(metric.label)}: diverged${all ? "" : `: ${exact(layer.values[i])}`}`);
      traces.push({
        x: lost.map((i) => x[i]), y: lost.map(() => 1), yaxis: "y3", type: "scatter", mode: "markers", name: "diverged", showlegend: false,
        marker: { symbol: "x-thin", size: 7, line: { width: 1.5, color: colours().missing } }, text: words, hovertemplate: "%{text}<extra></extra>",
      });
    }
    return traces;
  }

  // the runs of finite values, as [from, to)
  function unbroken(values) {
    const runs = [];
    values.forEach((value, k) => {
      if (!Number.isFinite(value)) return;
      if (k && Number.isFinite(values[k - 1])) runs[runs.length - 1][1] = k + 1;
      else runs.push([k, k + 1]);
    });
    return runs;
  }

  function linePath() {
    if (!isKnownPath()) return [];
    const steps = pathPoints();
    return [{
      x: steps.map((step) => step.x), y: steps.map(() => 0.02), yaxis: "y3", type: "scatter", mode: "markers", name: "path",
      showlegend: false, marker: { symbol: "line-ns-open", size: 12, color: colours().ink }, text: steps.map(pathText),
      hovertemplate: "%{text}<extra></extra>",
    }];
  }

  // ---------------------------------------------------------------- layouts

  function commonLayout() {
    const ink = colours(), narrow = sizeClass() === "narrow";
    return {
      paper_bgcolor: ink.paper, plot_bgcolor: ink.paper, font: { color: ink.ink, size: narrow ? 11 : 12, family: "system-ui, sans-serif" },
      margin: narrow ? { l: 8, r: 8, t: 28, b: 8 } : { l: 16, r: 16, t: 28, b: 16 }, uirevision: "kept",
      hoverlabel: { align: "left", bgcolor: ink.paper, bordercolor: ink.line, font: { color: ink.ink } }, showlegend: false,
    };
  }

  function axisOf(index, more) {
    const ink = colours();
    const title = { text: wrapped(data.axes[index].label, sizeClass() === "narrow" ? 40 : 80), font: { size: 11 } };
    return { title, gridcolor: ink.line, zerolinecolor: ink.line, linecolor: ink.line, automargin: true, ...more };
  }

  // whether both axes have the same length, so that a flat picture is a square
  function isSquare() {
    const [width, depth] = [x, y].map((each) => each[each.length - 1] - each[0]);
    return width > 0 && Math.abs(width - depth) <= 1e-5 * width;
  }

  // on a narrow screen from farther away, so that no corner is cut off
  function camera() {
    const far = 1.2 * Math.max(1, 0.95 / (plot.clientWidth / plot.clientHeight));
    return { eye: { x: far, y: -far, z: 0.85 * far }, center: { x: 0, y: 0, z: -0.12 } };
  }

  function planeLayout(drawn) {
    const ink = colours();
    if (state.view !== "surface") {
      const end = (each) => (each.length > 1 && each[each.length - 1] > each[0] ? { range: [each[0], each[each.length - 1]] } : {});
      const scaled = isSquare() ? { scaleanchor: "x", scaleratio: 1, constrain: "domain" } : {};
      return {
        ...commonLayout(), hovermode: "closest",
        xaxis: axisOf(0, { ...end(x), constrain: "domain", showgrid: false, zeroline: false }),
        yaxis: axisOf(1, { ...end(y), ...scaled, showgrid: false, zeroline: false }),
      };
    }
    const pad = 0.02 * (drawn.scale.high - drawn.scale.low);
    const axis = (name, each) => ({
      title: { text: name }, gridcolor: ink.line, zerolinecolor: ink.line, color: ink.ink, showspikes: false, showbackground: false,
      ...(each.length > 1 ? { range: [each[0], each[each.length - 1]] } : {}),
    });
    return {
      ...commonLayout(),
      scene: {
        uirevision: "kept", aspectmode: "manual", aspectratio: { x: 1, y: 1, z: 0.7 }, dragmode: "turntable",
        camera: camera(),
        xaxis: axis("x", x), yaxis: axis("y", y),
        zaxis: {
          ...axis(plain(drawn.layer.metric.label + drawn.scale.suffix), []), tickvals: drawn.scale.at, ticktext: drawn.scale.texts,
          range: [drawn.scale.low - pad, drawn.scale.high + pad],
        },
      },
    };
  }

  function kindsOf(metrics) {
    return [...new Set(metrics.map((metric) => metric.label.replace(`${metric.split} `, "")))].map(plain).join(" and ");
  }

  // shares of other programs may be percent
  function rangeOfShares(metrics) {
    const isWithin = metrics.map(limitsOf).every((limits) => !limits.finite || (limits.low >= 0 && limits.high <= 1));
    return isWithin ? { range: [-0.03, 1.03], tickmode: "linear", tick0: 0, dtick: 0.2 } : { nticks: 8 };
  }

  function lineLayout() {
    const metrics = shownMetrics(), left = leftOf(metrics), right = metrics.filter((metric) => !left.includes(metric));
    return {
      ...commonLayout(), hovermode: "x unified", showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal" },
      xaxis: axisOf(0, { type: data.axes[0].log ? "log" : "linear", hoverformat: ".17~g" }),
      yaxis: { title: { text: kindsOf(left) }, type: isLog() ? "log" : "linear", nticks: 8, gridcolor: colours().line, zerolinecolor: colours().line, automargin: true },
      yaxis2: { title: { text: kindsOf(right) }, overlaying: "y", side: "right", ...rangeOfShares(right), showgrid: false, zeroline: false, visible: right.length > 0, automargin: true },
      yaxis3: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    };
  }

  // ---------------------------------------------------------------- the page

  function legendTexts(drawn) {
    const texts = [];
    if (isPlane && drawn.traces.some((trace) => trace.name === "checkpoint")) texts.push(state.view === "surface" ? "◆ the checkpoint" : "✚ the checkpoint");
    const lost = isPlane ? drawn.parts.diverged.length : drawn.traces.filter((trace) => trace.name === "diverged").length;
    const points = `${lost.toLocaleString("en")} point${lost === 1 ? "" : "s"}`;
    if (lost && isPlane) texts.push(`${state.view === "surface" ? "○ grey, at the top" : "× grey"}: diverged (NaN or inf), ${points}`);
    if (lost && !isPlane) texts.push("× at the upper edge: diverged (NaN or inf)");
    const slices = state.slice < 0 ? [...data.slices.keys()] : [state.slice];
    if (slices.some((slice) => evaluated.subarray(slice * numPoints, (slice + 1) * numPoints).includes(0))) {
      texts.push(isPlane ? "gaps: not evaluated; dots: evaluated points apart from the surface" : "points: evaluated; between them nothing is known yet");
    }
    if (!isPlane && state.slice < 0 && data.num_slices > 1) texts.push(overSlices(shownMetrics()[0].over_slices.num_slices));
    if (isKnownPath()) texts.push(pathLegend());
    if (!isPlane || state.view !== "surface") return texts;
    return [...texts, ...(drawn.parts.isSurface ? ["lines on the floor: contours of the surface"] : []), "drag to turn, scroll or pinch to zoom"];
  }

  // those that are not begun do not count
  function overSlices(num) {
    return num === 1 ? "line: the one slice that is begun" : `line: mean; band: range over ${num.toLocaleString("en")} slices`;
  }

  function pathLegend() {
    const words = data.path.words[Math.max(state.slice, 0)];
    if (!isPlane) return `| ${words}`;
    return `${words}; □ is the first of them${state.view === "surface" ? "; the path has the height of the surface" : ""}`;
  }

  function show() {
    plot.classList.toggle("square", isPlane && state.view !== "surface" && isSquare());
    const drawn = isPlane ? planeTraces() : { traces: [...lineTraces(), ...linePath()] };
    const layout = isPlane ? planeLayout(drawn) : lineLayout();
    const list = document.getElementById("legend");
    list.replaceChildren(...legendTexts(drawn).map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    const scale = document.getElementById("scale");
    scale.value = isLog() ? "log" : "linear";
    scale.querySelector("[value=log]").disabled = !canBeLog();
    const config = { displaylogo: false, responsive: true, scrollZoom: isPlane && state.view === "surface", modeBarButtonsToRemove: ["lasso2d", "select2d"] };
    return Plotly.react(plot, drawn.traces, layout, config);
  }

  function fill(id, options, chosen, choose) {
    const select = document.getElementById(id);
    for (const [value, text] of options) select.add(new Option(text, value));
    select.value = String(chosen);
    select.addEventListener("change", () => {
      choose(select.value);
      show();
    });
    select.parentElement.hidden = select.options.length < 2; // nothing to choose
  }

  const all = data.num_slices > 1 ? "all: mean and range" : "0";
  const names = data.metrics.map((metric, k) => [k, metric.label]);
  const slices = data.slices.map((number, k) => [k, String(number)]);
  fill("metric", isPlane ? names : [[-1, "losses and accuracies"], ...names], state.metric, (value) => (state.metric = Number(value)));
  fill("slice", isPlane ? slices : [[-1, all], ...(data.num_slices > 1 ? slices : [])], state.slice, (value) => (state.slice = Number(value)));
  fill("scale", [], "linear", (value) => (state.log = value === "log"));
  if (isPlane) fill("view", [], state.view, (value) => (state.view = value));

  show();
  darkness.addEventListener("change", show);
  let shownAs = sizeClass();
  window.addEventListener("resize", () => {
    if (sizeClass() === shownAs) return;
    shownAs = sizeClass();
    show();
  });
})();
