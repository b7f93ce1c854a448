// The status page: a sentence, charts of the last hour or day, and every figure.

import * as api from "./api.js";
import { byId, element } from "./dom.js";
import * as format from "./format.js";
import { session } from "./session.js";
import { facts } from "./status.js";

/** Lines differ in their dashes too, so that they can be told apart without colour. */
const LINES = [
  { stroke: "--accent", width: 2, dash: [] },
  { stroke: "--image", width: 2, dash: [8, 4] },
  { stroke: "--media", width: 2, dash: [2, 3] },
  { stroke: "--paper", width: 2, dash: [10, 3, 2, 3] },
  { stroke: "--plain", width: 2, dash: [5, 2] },
];

const megabytes = (value) => (value === null || value === undefined ? "–" : format.bytes(value));
const perSecond = (value) => (value === null || value === undefined ? "–" : `${megabytes(value)}/s`);
const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: 1 }));
const milliseconds = (value) => (value === null || value === undefined ? "–" : `${number(value)} ms`);
const minutes = (value) => (value === null || value === undefined ? "–" : format.duration(value));

const BYTE_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const TIME_STEPS = [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200];
// Times of day are shown to the minute: shorter steps would show one twice.
const CLOCK_STEPS = [60, 300, 600, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200];

/** Each chart: its title, how its values read, and its lines: a name, and a sample's value. */
const CHARTS = [
  {
    title: "Memory",
    read: megabytes,
    steps: BYTE_STEPS,
    lines: [
      ["Resident", (sample) => sample.resident_bytes],
      ["Heap", (sample) => sample.heap_bytes],
      ["Transfer buffers", (sample) => sample.transfer_bytes],
    ],
    note: ({ memory }) =>
      memory.trend_bytes_per_hour === null
        ? "A trend needs ten minutes of samples."
        : `Trend of the last hour: ${memory.trend_bytes_per_hour < 0 ? "−" : "+"}${format.bytes(Math.abs(memory.trend_bytes_per_hour))} an hour.`,
  },
  {
    title: "Open streams",
    read: number,
    lines: [
      ["Uploads", (sample) => sample.uploads],
      ["Downloads", (sample) => sample.downloads],
      ["Connections to the store", (sample) => sample.connections],
    ],
  },
  {
    title: "Throughput",
    read: perSecond,
    steps: BYTE_STEPS,
    lines: [
      ["From clients", (sample) => sample.in_per_s],
      ["To clients", (sample) => sample.out_per_s],
    ],
  },
  {
    title: "Operations a second",
    read: number,
    lines: [
      ["Done", (sample) => sample.ok_per_s],
      ["Refused", (sample) => sample.refused_per_s],
    ],
  },
  {
    title: "Failures, by cause",
    read: number,
    lines: [
      ["Store unavailable", failed("upstream_unavailable")],
      ["Store too slow", failed("upstream_timeout")],
      ["Store refuses", failed("upstream_refused", "container_not_found")],
      ["Disk full", failed("storage_full")],
      ["Internal, bytes missing", failed("internal", "bytes_missing")],
    ],
  },
  {
    title: "Time to the first byte from the store",
    read: milliseconds,
    lines: [
      ["Median", (sample) => sample.upstream_ms?.[0]],
      ["99 of 100", (sample) => sample.upstream_ms?.[1]],
    ],
    only: ({ backend }) => ["azure", "s3", "gcs"].includes(backend),
  },
  {
    title: "Remaining lifetime of token and signing key",
    read: minutes,
    steps: TIME_STEPS,
    lines: [
      ["Access token", lease("entra_token", "s3_credential", "gcs_token")],
      ["Signing key", lease("delegation_key")],
    ],
    only: ({ leases }) => leases.length > 0,
  },
];

function failed(...causes) {
  return (sample) => sample.failed.reduce((sum, [known, number]) => sum + (causes.includes(known) ? number : 0), 0);
}

function lease(...names) {
  return (sample) => sample.leases.find(([known]) => names.includes(known))?.[1];
}

const drawn = new Map();
let loading = false;

async function load() {
  if (loading) return;
  loading = true;
  const wanted = document.querySelector("input[name=window]:checked").value;
  try {
    const [status, samples] = await Promise.all([api.status(), api.history(wanted)]);
    say(status.health);
    draw(status, samples);
    const { health, ...rest } = status;
    byId("details").replaceChildren(facts(rest));
  } catch (error) {
    say({
      level: "trouble",
      sentence: error.status === 403 ? "This token is not allowed to see the status." : "The status cannot be loaded.",
      advice: error.message,
    });
    if (error.status === 401) location.reload();
  } finally {
    loading = false;
  }
}

function say({ level, sentence, advice }) {
  byId("health").dataset.level = level;
  byId("health-sentence").textContent = sentence;
  byId("health-advice").textContent = advice ?? "";
}

function draw(status, samples) {
  for (const chart of CHARTS) {
    if (chart.only && !chart.only(status)) continue;
    const data = [
      samples.map((sample) => sample.at_ms / 1000),
      ...chart.lines.map(([, value]) => samples.map((sample) => value(sample) ?? null)),
    ];
    let { plot, note, box } = drawn.get(chart) ?? build(chart);
    if (plot === null && samples.length > 0) {
      plot = new uPlot(options(chart, box), data, box);
      drawn.set(chart, { plot, note, box });
    } else {
      plot?.setData(data);
    }
    // Where nobody points, the legend tells the newest values.
    if (plot && plot.cursor.idx == null) plot.setLegend({ idx: samples.length - 1 });
    const latest = chart.lines.map(([name], line) => `${name} ${chart.read(data[line + 1].at(-1))}`).join(" · ");
    note.textContent = samples.length === 0 ? "The first sample appears within ten seconds." : (chart.note?.(status) ?? "");
    box.setAttribute("aria-label", `${chart.title}. Now: ${latest}`);
  }
}

function build(chart) {
  const box = element("div", { class: "plot", role: "img", tabindex: "0" });
  const note = element("p", { class: "muted" });
  byId("charts").append(element("section", { class: "card chart" }, element("h2", {}, chart.title), box, note));
  const made = { plot: null, note, box };
  drawn.set(chart, made);
  return made;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(chart, box) {
  const axis = { stroke: () => colour("--muted"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, incrs: CLOCK_STEPS, values: (_, times) => times.map((time) => format.clock(new Date(time * 1000))) },
      { ...axis, size: 76, incrs: chart.steps, values: (_, values) => values.map(chart.read) },
    ],
    legend: { markers: { width: 3, dash: (_, series) => BORDERS[series - 1] } },
    hooks: {
      // Leaving the chart goes back to them.
      setLegend: [
        (plot) => {
          const last = plot.data[0].length - 1;
          if (plot.cursor.idx == null && plot.legend.idx !== last && last >= 0) plot.setLegend({ idx: last }, false);
        },
      ],
    },
    cursor: { y: false },
    series: [
      { label: "Time", value: (_, time) => (time === null ? "now" : format.clock(new Date(time * 1000))) },
      ...chart.lines.map(([label], line) => ({
        label,
        width: LINES[line].width,
        dash: LINES[line].dash,
        stroke: () => colour(LINES[line].stroke),
        value: (_, value) => chart.read(value),
        points: { show: false },
      })),
    ],
  };
}

const HEIGHT = 180;

/** The dashes of the lines, as far as the border of a legend's mark can show them. */
const BORDERS = ["solid", "dashed", "dotted", "double", "groove"];

new ResizeObserver(() => {
  for (const { plot, box } of drawn.values()) plot?.setSize({ width: box.clientWidth, height: HEIGHT });
}).observe(byId("charts"));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of drawn.values()) plot?.redraw(false);
});

byId("window").addEventListener("change", load);

session().then(load, (error) => say({ level: "trouble", sentence: "The status cannot be loaded.", advice: error.message }));
setInterval(() => {
  if (!document.hidden && !byId("sign-in-dialog").open) load();
}, 5000);
