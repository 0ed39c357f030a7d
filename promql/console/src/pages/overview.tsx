import type { ComponentChildren } from 'preact';
import { get, type Page as Rows, prom } from '../api.ts';
import { ask, first, over, type Ranged } from '../ask.ts';
import { clock, format, humanize, plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Head, type Level, levelOf, Meter, Nothing, Panel, RangePicker, Shown, Spark, Stat, Trouble, useRange, Waiting, When, WorkloadLink } from '../parts.tsx';
import { href } from '../route.ts';
import { type Change, type Hit, type Verdict } from '../rows.ts';
import { nameOf, workloadOf } from '../series.ts';
import { type Service, services } from '../services.ts';
import type { Alert } from './alerts.tsx';

const order: Level[] = ['crit', 'warn', 'note', 'ok', 'off'];
const hour = () => new Date(Date.now() - 3_600_000).toISOString();

export async function firing(signal: AbortSignal): Promise<Alert[]> {
  return (await prom<{ alerts: Alert[] }>('alerts', {}, signal)).data.alerts.filter((a) => a.state === 'firing' && a.labels.severity !== 'none');
}

const countBy = <T,>(rows: T[], key: (row: T) => string) => {
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(key(row), (counts.get(key(row)) ?? 0) + 1);
  return [...counts];
};

const urgent = /^(emergency|alert|critical)$/i;
const lastOf = (r: Ranged | undefined, i = 0) => r?.series[i]?.points.at(-1)?.[1];

/** valuesOf are the values of a series at every step, for a small picture. */
function valuesOf(r: Ranged | undefined, pick: (labels: Record<string, string>) => boolean = () => true): (number | null)[] {
  if (!r) return [];
  const n = Math.round((r.span.end - r.span.start) / r.span.step) + 1;
  const values: (number | null)[] = new Array<number | null>(n).fill(null);
  for (const s of r.series) {
    if (!pick(s.labels)) continue;
    for (const [t, v] of s.points) {
      const i = Math.round((t - r.span.start) / r.span.step);
      if (i >= 0 && i < n && Number.isFinite(v)) values[i] = (values[i] ?? 0) + v;
    }
  }
  return values;
}

interface Concern {
  level: Level;
  text: ComponentChildren;
  to: string;
}

/** Verdict says in one line whether somebody is needed, and why. */
function Verdicts({ concerns, pending, broken }: { concerns: Concern[]; pending: boolean; broken: boolean }) {
  const level: Level = concerns.some((c) => c.level === 'crit') ? 'crit' : concerns.some((c) => c.level === 'warn') ? 'warn' : broken ? 'off' : 'ok';
  const title = pending && concerns.length === 0 ? 'Looking…'
    : level === 'crit' ? 'Somebody is needed now.' : level === 'warn' ? 'Worth a look.' : level === 'off' ? 'Not all can be seen.' : 'All is quiet.';
  return (
    <section class={`verdict ${pending && concerns.length === 0 ? 'off' : level}`} aria-label="State of this machine" role="status">
      <p class="title">{title}</p>
      <ul>
        {concerns.map((c, i) => <li key={i} class={c.level}><a href={c.to} data-row>{c.text}</a></li>)}
        {concerns.length === 0 && !pending && !broken && <li>No alert fires, no urgent rule was hit and no file changed unexpectedly within the last hour.</li>}
      </ul>
    </section>
  );
}

/** The time of day, or the date where there are several days. */
const timeOf = (at: number, span: { start: number; end: number }) => {
  const local = new Date(at * 1000);
  return span.end - span.start > 86400 ? local.toLocaleDateString() : local.toTimeString().slice(0, 5);
};

interface Lane {
  name: string;
  to: string;
  level: Level;
  values: (number | null)[];
  unit: string;
  missing?: string;
}

/** Watch is the log of the watch: what happened when, one line for each kind, so that things that belong together stand together. */
function Watch({ lanes, span }: { lanes: Lane[]; span: { start: number; end: number; step: number } | undefined }) {
  const n = span ? Math.round((span.end - span.start) / span.step) + 1 : 0;
  return (
    <div class="watch">
      {lanes.map((lane) => {
        const most = Math.max(lane.unit === 'ratio' ? 1 : 0, ...lane.values.map((v) => v ?? 0));
        const highest = Math.max(0, ...lane.values.map((v) => v ?? 0));
        const total = lane.values.reduce<number>((sum, v) => sum + (v ?? 0), 0);
        return (
          <a key={lane.name} class={`lane ${lane.level}`} href={lane.to}>
            <span class="what">{lane.name}</span>
            <svg viewBox={`0 0 ${Math.max(n, 1)} 1`} preserveAspectRatio="none" role="img" aria-label={`${lane.name}: at most ${format(highest, lane.unit)} at once`}>
              {lane.values.map((v, i) => (v !== null && v > 0.0001 ? <rect key={i} x={i + 0.06} y="0" width="0.88" height="1" opacity={Math.max(0.3, Math.min(1, 0.3 + 0.7 * Math.sqrt(v / (most || 1)))).toFixed(2)}><title>{`${clock((span?.start ?? 0) * 1000 + i * (span?.step ?? 0) * 1000)}: ${format(v, lane.unit)}`}</title></rect> : null))}
            </svg>
            <span class="num">{lane.missing ?? (lane.unit === 'count' ? (total < 0.5 ? 'none' : humanize(Math.round(total))) : highest === 0 ? 'none' : `≤ ${format(highest, lane.unit)}`)}</span>
          </a>
        );
      })}
      {span && <p class="axis num" aria-hidden="true"><span>{timeOf(span.start, span)}</span><span>{timeOf((span.start + span.end) / 2, span)}</span><span>now</span></p>}
    </div>
  );
}

export function Overview() {
  const { text: range, seconds } = useRange();
  const alerts = useLive('firing-all', firing);
  const cpu = useLive(`cpu ${range}`, (s) => over('node_cpu_busy', {}, seconds, s, 60));
  const memory = useLive(`memory ${range}`, (s) => over('node_memory_used', {}, seconds, s, 60));
  const network = useLive(`network ${range}`, (s) => over('node_network_throughput', {}, seconds, s, 60));
  const disks = useLive('disks', (s) => ask('node_filesystem_used', {}, s), 30);
  const saturation = useLive('saturation', (s) => ask('console_saturation', {}, s));
  const running = useLive('services 5m', (s) => services(s));
  const hits = useLive('hits of the hour', async (s) => (await get<Rows<Hit>>('api/yagura/hits', { since: hour(), limit: 1000 }, s)).data, 10);
  const changes = useLive('changes of the hour', async (s) => (await get<Rows<Change>>('api/yagura/fim', { since: hour(), limit: 1000 }, s)).data, 10);
  const scores = useLive('scores', (s) => ask('posture_scores', {}, s), 60);
  const critical = useLive('critical checks', async (s) => (await get<Rows<Verdict>>('api/yagura/posture', { status: 'fail', severity: 'critical', limit: 1000 }, s)).data, 60);
  const agent = useLive('agent', async (s) => {
    const [cores, memory, lost, probes, targets] = await Promise.all([
      first('agent_cpu', {}, s), first('agent_memory', {}, s), ask('agent_events_lost', { window: '5m' }, s), ask('console_agent_probes', {}, s),
      prom<{ activeTargets: { health: string; labels: Record<string, string> }[] }>('targets', { state: 'active' }, s),
    ]);
    return { cores, memory, lost, probes, down: targets.data.activeTargets.filter((t) => t.health === 'down').map((t) => t.labels.job ?? '') };
  });
  const log = useLive(`watch ${range}`, async (s) => {
    const lanes = Math.min(72, seconds / 60); // of a minute at least, as increase() looks no less far back: nothing is counted twice
    const [fired, hits, changed, failed] = await Promise.all([
      over('alerts_by_severity', {}, seconds, s, lanes, true), over('security_hits', {}, seconds, s, lanes, true), over('fim_unexpected_total', {}, seconds, s, lanes, true), over('console_watch_errors', {}, seconds, s, lanes, true),
    ]);
    return { fired, hits, changed, failed };
  }, 30);

  const concerns: Concern[] = [];
  const severe = countBy(alerts.data ?? [], (a) => a.labels.severity ?? 'none').map(([severity, n]) => ({ severity, n, level: levelOf(severity) })).sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));
  for (const { severity, n, level } of severe) {
    if (level === 'crit' || level === 'warn') concerns.push({ level, text: <><b>{plural(n, `${severity} alert`)}</b> {n === 1 ? 'fires' : 'fire'}: {[...new Set(alerts.data?.filter((a) => a.labels.severity === severity).map((a) => a.labels.alertname))].slice(0, 4).join(', ')}</>, to: href('alerts') });
  }
  const urgentNow = hits.data?.filter((h) => urgent.test(h.priority)) ?? [];
  if (urgentNow.length > 0) concerns.push({ level: 'crit', text: <><b>{plural(urgentNow.length, 'urgent rule hit')}</b> within the hour: {[...new Set(urgentNow.map((h) => h.rule))].slice(0, 2).join('; ')}</>, to: href('hits', { priority: 'Critical' }) });
  const unexpected = changes.data?.filter((c) => !c.expected) ?? [];
  if (unexpected.length > 0) concerns.push({ level: 'warn', text: <><b>{plural(unexpected.length, 'unexpected file change')}</b> within the hour: {[...new Set(unexpected.map((c) => c.path))].slice(0, 2).join(', ')}</>, to: href('fim', { expected: 'false' }) });
  if (agent.data && agent.data.down.length > 0) concerns.push({ level: agent.data.down.includes('yagura') ? 'crit' : 'warn', text: <><b>{plural(agent.data.down.length, 'target')}</b> cannot be scraped: {[...new Set(agent.data.down)].slice(0, 3).join(', ')}</>, to: href('targets') });
  if (agent.data && agent.data.lost.length > 0) concerns.push({ level: 'warn', text: <><b>Events are lost</b>: rules do not see them ({agent.data.lost.map((l) => l.labels.kind).join(', ')})</>, to: href('agent') });
  const off = cpu.error?.kind === 'missing' && cpu.data === undefined;
  const all = [alerts, hits, changes, agent];
  concerns.sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));

  const lack = (resource: string) => saturation.data?.find((s) => s.labels.resource === resource && nameOf(workloadOf(s.labels)) === 'host')?.value;
  const disk = disks.data?.reduce<{ value: number; labels: Record<string, string> } | undefined>((a, b) => (a && a.value >= b.value ? a : b), undefined);
  const failing = running.data?.filter((s) => s.errors > 0) ?? [];
  const score = scores.data?.find((s) => s.labels.framework?.startsWith('cis_') && !/docker|kubernetes|eks|gke/.test(s.labels.framework)) ?? scores.data?.[0];
  const refused = agent.data?.probes.filter((p) => p.value === 0) ?? [];
  const lanes: Lane[] = [
    { name: 'Alerts', to: href('alerts'), level: 'crit', values: valuesOf(log.data?.fired), unit: 'info' },
    { name: 'Urgent hits', to: href('hits', { priority: 'Critical' }), level: 'crit', values: valuesOf(log.data?.hits, (l) => urgent.test(l.priority ?? '')), unit: 'count' },
    { name: 'Other hits', to: href('hits'), level: 'warn', values: valuesOf(log.data?.hits, (l) => /^(error|warning)$/i.test(l.priority ?? '')), unit: 'count' },
    { name: 'File changes', to: href('fim', { expected: 'false' }), level: 'warn', values: valuesOf(log.data?.changed), unit: 'count' },
    { name: 'Failing requests', to: href('services'), level: 'note', values: valuesOf(log.data?.failed), unit: 'requests_per_second' },
    { name: 'CPU', to: href('machine'), level: 'off', values: resample(valuesOf(cpu.data), lanesOf(log.data?.failed)), unit: 'ratio' },
  ];

  return (
    <>
      <Head title="Overview"><RangePicker /></Head>
      {off && <Trouble error={{ message: 'The store is off, so there is no history and no graph.', advice: 'Start Yagura with --store.path=DIRECTORY. Hits, files, posture and requests work without.' }} />}
      <Verdicts concerns={concerns} pending={all.some((l) => l.data === undefined && !l.error)} broken={all.some((l) => l.error)} />
      <div class="stats five">
        <Stat name="Alerts" to={href('alerts')} level={severe[0]?.level} value={alerts.data ? alerts.data.length : '–'} note={alerts.data ? severe.map((s) => `${s.n} ${s.severity}`).join(', ') || 'none fires' : ''} />
        <Stat name="CPU" to={href('machine')} value={format(lastOf(cpu.data), 'ratio')} note={`threads wait ${format(lack('cpu'), 'ratio')} of their time`}>
          <Spark values={valuesOf(cpu.data)} top={1} label={`CPU in use over ${range}`} />
        </Stat>
        <Stat name="Memory" to={href('machine')} value={format(lastOf(memory.data), 'ratio')} note="in use, not to be taken back">
          <Spark values={valuesOf(memory.data)} top={1} label={`memory in use over ${range}`} />
        </Stat>
        <Stat name="Fullest disk" to={href('machine')} value={format(disk?.value, 'ratio')} note={disk ? (disk.labels.mountpoint ?? disk.labels.volume ?? disk.labels.device) : disks.data ? 'not known yet' : ''}>
          <Meter ratio={disk?.value} label="the fullest file system" />
        </Stat>
        <Stat name="Network" to={href('machine')} value={format(through(network.data), 'bytes_per_second')} note={`in ${format(through(network.data, 'receive'), 'bytes_per_second')}, out ${format(through(network.data, 'transmit'), 'bytes_per_second')}`}>
          <Spark values={valuesOf(network.data, outside)} label={`network traffic over ${range}`} />
        </Stat>
        <Stat name="Services" to={href('services')} level={failing.some((s) => s.errors > 0.05) ? 'warn' : undefined} value={running.data ? new Set(running.data.map((s) => s.name)).size : '–'} note={running.data ? (failing.length > 0 ? `${new Set(failing.map((s) => s.name)).size} with errors` : 'none with errors') : ''} />
        <Stat name="Rule hits, 1 h" to={href('hits')} level={urgentNow.length > 0 ? 'crit' : undefined} value={hits.data ? (hits.data.length >= 1000 ? '≥ 1000' : humanize(hits.data.length)) : '–'} note={hits.data ? countBy(hits.data, (h) => h.priority).sort((a, b) => order.indexOf(levelOf(a[0])) - order.indexOf(levelOf(b[0]))).slice(0, 3).map(([p, n]) => `${n} ${p.toLowerCase()}`).join(', ') || 'nothing was noticed' : ''} />
        <Stat name="File changes, 1 h" to={href('fim')} level={unexpected.length > 0 ? 'warn' : undefined} value={changes.data ? humanize(changes.data.length) : '–'} note={changes.data ? `${unexpected.length} unexpected` : ''} />
        <Stat name="Posture" to={href('posture', { framework: score?.labels.framework })} value={score ? <>{format(score.value, 'score')}<small> of 100</small></> : '–'} note={score ? `${score.labels.framework ?? ''}; ${critical.data ? plural(new Set(critical.data.map((v) => v.check)).size, 'critical check fails', 'critical checks fail') : ''}` : scores.data ? 'not judged yet' : ''} />
        <Stat name="Yagura itself" to={href('agent')} level={refused.length > 0 || agent.data?.lost.length ? 'warn' : undefined} value={format(agent.data?.cores, 'cores')} note={agent.data ? `${format(agent.data.memory, 'bytes')}; ${refused.length > 0 ? plural(refused.length, 'probe refused', 'probes refused') : 'all probes run'}` : ''} />
      </div>
      <Panel title={`The watch, last ${range}`} wide>
        {log.data ? <Watch lanes={lanes} span={log.data.failed?.span} /> : log.error ? <Trouble error={log.error} retry={log.retry} /> : <Waiting />}
      </Panel>
      <div class="columns">
        <Panel title="Services by requests" to={href('services')}>
          <Shown live={running} empty={(rows) => rows.length === 0 && <Nothing>No request was seen within 5 minutes. Requests are counted once somebody asks something by HTTP, gRPC, DNS, a database's or a broker's protocol.</Nothing>}>
            {(rows) => <Busiest rows={rows} />}
          </Shown>
        </Panel>
        <Panel title="Latest rule hits" to={href('hits')}>
          <Shown live={hits} empty={(rows) => rows.length === 0 && <Nothing>No rule was hit within the hour.</Nothing>}>
            {(rows) => (
              <ul class="brief">
                {lately(rows).slice(0, 7).map(({ hit: h, n }) => <li key={h.rule}><a href={href('hits', { rule: h.rule })} data-row><Badge>{h.priority}</Badge><span class="what">{h.rule}{n > 1 && <small class="num"> {n} times</small>}</span><When at={h.time} /></a></li>)}
              </ul>
            )}
          </Shown>
        </Panel>
        <Panel title="Latest file changes" to={href('fim')}>
          <Shown live={changes} empty={(rows) => rows.length === 0 && <Nothing>No watched file changed within the hour.</Nothing>}>
            {(rows) => (
              <ul class="brief">
                {rows.slice(0, 7).map((c) => <li key={c.id}><a href={href('fim', { id: c.id })} data-row><Badge level={c.expected ? 'ok' : levelOf(c.severity)}>{c.expected ? 'expected' : c.severity}</Badge><span class="what"><code>{c.path}</code> {c.kinds.join(', ')}</span><When at={c.time} /></a></li>)}
              </ul>
            )}
          </Shown>
        </Panel>
      </div>
    </>
  );
}

// What passes through the loopback device does not leave the machine.
const outside = (labels: Record<string, string>) => labels.device !== 'lo';

/** through is what passes through all devices now, one way or both. */
function through(r: Ranged | undefined, direction?: string): number | undefined {
  const series = r?.series.filter((s) => outside(s.labels) && (!direction || s.labels.direction === direction));
  return series?.reduce((total, s) => total + (s.points.at(-1)?.[1] ?? 0), 0);
}

const lanesOf = (r: Ranged | undefined) => (r ? Math.round((r.span.end - r.span.start) / r.span.step) + 1 : 0);

/** resample makes so many values of others, by the nearest. */
function resample(values: (number | null)[], n: number): (number | null)[] {
  return Array.from({ length: n }, (_, i) => values[Math.round((i / Math.max(1, n - 1)) * (values.length - 1))] ?? null);
}

/** lately is the last hit of every rule, the latest first, and how many there were: a noisy rule does not hide the others. */
function lately(hits: Hit[]): { hit: Hit; n: number }[] {
  const rules = new Map<string, { hit: Hit; n: number }>();
  for (const hit of hits) {
    const known = rules.get(hit.rule);
    if (known) known.n++;
    else rules.set(hit.rule, { hit, n: 1 });
  }
  return [...rules.values()];
}

function Busiest({ rows }: { rows: Service[] }) {
  const busiest = [...rows].sort((a, b) => Number(b.errors > 0.01) - Number(a.errors > 0.01) || b.rate - a.rate).slice(0, 7);
  return (
    <table class="tight">
      <thead><tr><th scope="col">Service</th><th scope="col" class="num">Requests</th><th scope="col" class="num">Errors</th><th scope="col" class="num">p95</th></tr></thead>
      <tbody>
        {busiest.map((s) => (
          <tr key={s.key}>
            <td><WorkloadLink of={s.workload} /> <small>{s.protocol} {s.role}</small></td>
            <td class="num">{format(s.rate, 'requests_per_second')}</td>
            <td class={`num ${s.errors > 0.05 ? 'crit' : s.errors > 0.01 ? 'warn' : ''}`}>{s.errors > 0 ? format(s.errors, 'ratio') : '–'}</td>
            <td class="num">{format(s.p95, 'seconds')}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
