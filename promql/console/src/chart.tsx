// Graphs over time, by uPlot, which is fetched when the first one is shown.
import { useEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import type { Answer, Series } from './api.ts';
import type { Live } from './live.ts';
import { format } from './format.ts';
import { columns, names } from './series.ts';
import { Nothing, Shown } from './parts.tsx';

export interface Span {
  start: number;
  end: number;
  step: number;
}

const colors = 10;
const mostDrawn = 40;
// Ticks of bytes lie where their labels are round: at 1, 2 and 4 of Ki, Mi and so on.
const powers = Array.from({ length: 60 }, (_, i) => 2 ** i);

/** token is a color of the style sheet as a canvas takes it: what it is in the theme of the moment. */
function token(name: string): string {
  const probe = document.createElement('i');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

/** useTheme counts the changes of the theme: canvases do not take new colors by themselves. */
function useTheme(): number {
  const [n, setN] = useState(0);
  useEffect(() => {
    const changed = () => setN((i) => i + 1);
    const media = matchMedia('(prefers-color-scheme: dark)');
    media.addEventListener('change', changed);
    window.addEventListener('themechange', changed);
    return () => {
      media.removeEventListener('change', changed);
      window.removeEventListener('themechange', changed);
    };
  }, []);
  return n;
}

function options(width: number, height: number, unit: string, labels: string[], onZoom: ((start: number, end: number) => void) | undefined, sync: string | undefined): uPlot.Options {
  const muted = token('--muted');
  const grid = { stroke: token('--line'), width: 1 };
  const font = '11px system-ui, sans-serif';
  return {
    width, height,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 6 }, drag: { x: onZoom !== undefined, y: false, setScale: false }, sync: sync ? { key: sync } : undefined },
    legend: { show: false },
    scales: { x: { time: true }, y: { range: (_, low, high) => [Math.min(0, low || 0), high > 0 ? high * 1.08 : high === 0 && low === 0 ? 1 : high] } },
    axes: [
      { stroke: muted, font, grid, ticks: { show: false }, size: 26, space: 70, values: [[86400, '{MM}-{DD}', null, null, null, null, null, null, 1], [60, '{HH}:{mm}', null, null, null, null, null, null, 1], [1, '{HH}:{mm}:{ss}', null, null, null, null, null, null, 1]] },
      { stroke: muted, font, grid, ticks: { show: false }, size: 66, space: 32, incrs: unit.startsWith('bytes') ? powers : undefined, values: (_, at) => at.map((v) => format(v, unit)) },
    ],
    series: [{}, ...labels.map((label, i) => ({
      label, stroke: token(`--s${i % colors}`), width: 1.5, dash: i >= colors ? [4, 3] : undefined, points: { show: false }, spanGaps: false,
    }))],
    hooks: {
      setSelect: [(u: uPlot) => {
        if (u.select.width > 4 && onZoom) onZoom(u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x'));
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
}

export function Chart({ series, labels, span, unit, height = 150, label, onZoom, sync, legend = true }: {
  series: Series[]; labels?: string[]; span: Span; unit: string; height?: number; label: string;
  onZoom?: (start: number, end: number) => void; sync?: string; legend?: boolean;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [at, setAt] = useState<number | null>(null);
  const theme = useTheme();
  const drawn = series.slice(0, mostDrawn);
  const shown = (labels ?? names(series.map((s) => s.labels))).slice(0, mostDrawn);
  const data = columns(drawn, span.start, span.end, span.step);
  const zoom = useRef(onZoom);
  zoom.current = onZoom;
  const shape = JSON.stringify([shown, unit, height, theme]);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let gone = false;
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    void import('uplot').then(({ default: uPlot }) => {
      if (gone) return;
      const o = options(element.clientWidth, height, unit, shown, onZoom ? (a, b) => zoom.current?.(a, b) : undefined, sync);
      o.hooks = { ...o.hooks, setCursor: [(u) => setAt(u.cursor.idx ?? null)] };
      plot.current = new uPlot(o, latest.current as uPlot.AlignedData, element);
      resized.observe(element);
    });
    return () => {
      gone = true;
      resized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [JSON.stringify([span, drawn.map((s) => s.points.at(-1))])]);
  const valueAt = (i: number) => {
    const column = data[i + 1] as (number | null)[] | undefined;
    if (at !== null) return column?.[at] ?? undefined;
    return column?.findLast((v) => v !== null) ?? undefined;
  };
  return (
    <figure class="chart">
      <div ref={box} class="plot" style={{ height: `${height}px` }} role="img" aria-label={`${label}: ${shown.slice(0, 8).map((name, i) => `${name} ${format(valueAt(i), unit)}`).join(', ')}`} />
      {legend && (
        <figcaption class="legend">
          {shown.map((name, i) => (
            <span key={name + i}><i class={`key s${i % colors}`} /><span class="what">{name}</span><b class="num">{format(valueAt(i), unit)}</b></span>
          ))}
        </figcaption>
      )}
      {series.length > mostDrawn && <p class="state">The first {mostDrawn} of {series.length} series are drawn; the table has all.</p>}
    </figure>
  );
}

/** Graph is a chart of something live. */
export function Graph({ live, empty, ...rest }: { live: Live<{ span: Span; series: Series[]; labels?: string[] }>; unit: string; label: string; height?: number; empty: string; sync?: string; onZoom?: (start: number, end: number) => void }) {
  return (
    <Shown live={live} empty={(d) => d.series.length === 0 && <Nothing>{empty}</Nothing>}>
      {(d) => <Chart series={d.series} labels={d.labels} span={d.span} {...rest} />}
    </Shown>
  );
}

export type Ranged = Answer<Series[]>;
