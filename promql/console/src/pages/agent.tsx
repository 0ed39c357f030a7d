import { ask, first, over } from '../ask.ts';
import { Graph } from '../chart.tsx';
import { format, humanize, plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Head, Meter, Name, Nothing, Panel, RangePicker, Shown, Stat, Table, useRange } from '../parts.tsx';
import { set } from '../route.ts';

/** Where else this program answers: what its page at / said before there was a console. */
const endpoints: [string, string][] = [
  ['metrics', 'what is seen, as Prometheus scrapes it'],
  ['api/yagura/hits', 'what detection rules have found lately, the latest first'],
  ['api/yagura/fim', 'changes of watched files, who made them, and whether they were expected'],
  ['api/yagura/posture?status=fail', 'how the machine is configured: checks that fail, and how to mend it'],
  ['api/yagura/requests', 'slow and failed requests, the latest first'],
  ['api/yagura/connections', 'who speaks with whom now, and the processes behind it'],
  ['api/yagura/processes', 'processes by what they use'],
  ['api/yagura/library', 'the named queries, as this console asks them'],
  ['api/yagura/dashboards', 'dashboards for Grafana, as it imports them'],
  ['api/v1/query?query=up', 'the Prometheus HTTP API, for Grafana, promtool and yagura query'],
  ['-/ready', 'whether everything that was asked for runs'],
];

export function Agent() {
  const { text: range, seconds } = useRange();
  const graph = (query: string, values: Record<string, string> = {}) => useLive(`${query} ${range}`, (s) => over(query, values, seconds, s), 15);
  const cpu = graph('agent_cpu');
  const memory = useLive(`agent memory ${range}`, async (s) => {
    const [resident, maps] = await Promise.all([over('agent_memory', {}, seconds, s), over('agent_map_memory_total', {}, seconds, s)]);
    return { span: resident.span, series: [...resident.series, ...maps.series], labels: [...resident.series.map(() => 'resident'), ...maps.series.map(() => 'kernel maps')] };
  });
  const events = graph('security_events');
  const samples = graph('store_samples');
  const rules = graph('security_rule_time');
  const scrape = graph('store_scrape_duration');
  const now = useLive('agent now', async (s) => {
    const [cores, resident, maps, lost, series, store, head, failing, build] = await Promise.all([
      first('agent_cpu', {}, s), first('agent_memory', {}, s), first('agent_map_memory_total', {}, s), ask('agent_events_lost', { window: '1h' }, s), first('agent_node_series_used', {}, s),
      ask('store_size', {}, s), first('store_series', {}, s), ask('agent_collectors_failing', {}, s), ask('agent_version', {}, s),
    ]);
    return { cores, resident, maps, lost, series, store, head, failing, build };
  });
  const probes = useLive('probes', (s) => ask('console_agent_probes', {}, s), 30);
  const collectors = useLive('collectors', (s) => ask('agent_collector_slowest', { top: '12' }, s), 15);
  const caps = useLive('caps', async (s) => {
    const [used, folded] = await Promise.all([ask('agent_series_near_cap', { top: '12' }, s), ask('agent_series_folded', { top: '12' }, s)]);
    const beyond = new Map(folded.map((f) => [f.labels.metric, f.value]));
    return [...new Set([...used.map((u) => u.labels.metric ?? ''), ...folded.map((f) => f.labels.metric ?? '')])].map((metric) => ({ metric, used: used.find((u) => u.labels.metric === metric)?.value ?? NaN, folded: beyond.get(metric) ?? 0 }));
  }, 30);
  const zoom = (a: number, b: number) => set({ range: `${Math.max(60, Math.round(b - a))}s` }, true);
  const d = now.data;
  const refused = probes.data?.filter((p) => p.value === 0) ?? [];
  const version = d?.build[0]?.labels;
  return (
    <>
      <Head title="Agent" note={version ? `Yagura ${version.version || 'without a version'}${version.revision && version.revision !== 'unknown' ? ` (${version.revision.slice(0, 12)})` : ''}, built with ${version.goversion}` : 'What Yagura itself costs, and what it does not see.'}><RangePicker /></Head>
      <div class="stats">
        <Stat name="CPU" value={format(d?.cores, 'cores')} note="of Yagura itself" />
        <Stat name="Memory" value={format(d?.resident, 'bytes')} note={`and ${format(d?.maps, 'bytes')} of kernel maps`} />
        <Stat name="Events lost" level={d && d.lost.length > 0 ? 'warn' : undefined} value={d ? (d.lost.length === 0 ? 'none' : format(d.lost.reduce((n, l) => n + l.value, 0))) : '–'} note={d ? d.lost.map((l) => `${l.labels.kind} (${l.labels.stage})`).join(', ') || 'within the last hour' : ''} />
        <Stat name="Probes" level={refused.length > 0 ? 'warn' : undefined} value={probes.data ? `${probes.data.length - refused.length}` : '–'} note={probes.data ? (refused.length > 0 ? `${refused.length} refused by this kernel` : 'all that were wanted run') : ''} />
        <Stat name="Series" value={format(d?.series, 'ratio')} note="of what Yagura may show"><Meter ratio={d?.series} label="series in use" /></Stat>
        <Stat name="Store" value={d ? format(d.store.reduce((n, s) => n + s.value, 0), 'bytes') : '–'} note={d?.head === undefined ? '' : `${humanize(d.head)} series in memory`} />
      </div>
      {d && d.failing.length > 0 && <p class="state trouble" role="alert">Collectors that failed in the last scrape: {d.failing.map((f) => f.labels.collector).join(', ')}. The log says why.</p>}
      <div class="charts">
        <Panel title="CPU"><Graph live={cpu} unit="cores" label="CPU of Yagura" sync="a" onZoom={zoom} empty="Not scraped yet." /></Panel>
        <Panel title="Memory"><Graph live={memory} unit="bytes" label="Memory of Yagura" sync="a" onZoom={zoom} empty="Not scraped yet." /></Panel>
        <Panel title="Events from the kernel"><Graph live={events} unit="per_second" label="Events" sync="a" onZoom={zoom} empty="Not scraped yet." /></Panel>
        <Panel title="Rules, for each event"><Graph live={rules} unit="seconds" label="Time of rules for each event" sync="a" onZoom={zoom} empty="No rule was asked in this time." /></Panel>
        <Panel title="Scrapes"><Graph live={scrape} unit="seconds" label="Time of scrapes" sync="a" onZoom={zoom} empty="Not scraped yet." /></Panel>
        <Panel title="Samples stored"><Graph live={samples} unit="per_second" label="Samples stored" sync="a" onZoom={zoom} empty="Not scraped yet." /></Panel>
      </div>
      <div class="flow">
        <Panel title="Time of collectors">
          <Shown live={collectors} empty={(all) => all.length === 0 && <Nothing>Not scraped yet.</Nothing>}>
            {(all) => <Bars rows={all.map((s) => ({ name: s.labels.collector ?? '', value: s.value }))} unit="seconds" />}
          </Shown>
        </Panel>
        <Panel title="Series by metric, and their caps">
          <Shown live={caps} empty={(all) => all.length === 0 && <Nothing>Not scraped yet.</Nothing>}>
            {(all) => <Table rows={all} by="-Of cap" most={12} keyOf={(c) => c.metric} label="Series by metric" columns={[
              { name: 'Metric', cell: (c) => <Name of={c.metric} />, sort: (c) => c.metric },
              { name: 'Of cap', num: true, cell: (c) => <span class="with"><Meter ratio={Number.isNaN(c.used) ? undefined : c.used} label={c.metric} />{format(c.used, 'ratio')}</span>, sort: (c) => c.used },
              { name: 'Folded, 1 h', num: true, cell: (c) => (c.folded > 0 ? humanize(Math.ceil(c.folded)) : '–'), sort: (c) => c.folded },
            ]} />}
          </Shown>
        </Panel>
        <Panel title="Probes in the kernel" aside={probes.data && (refused.length > 0 ? plural(refused.length, 'refused', 'refused') : 'all run')}>
          <Shown live={probes} empty={(all) => all.length === 0 && <Nothing>No probe was wanted: without BPF, host metrics, files and posture work.</Nothing>}>
            {(all) => <ul class="probes">{[...all].sort((a, b) => a.value - b.value || (a.labels.probe ?? '').localeCompare(b.labels.probe ?? '')).map((p) => <li key={p.labels.probe}><Badge level={p.value === 1 ? 'ok' : 'warn'}>{p.value === 1 ? 'runs' : 'refused'}</Badge> <code>{p.labels.probe}</code></li>)}</ul>}
          </Shown>
          {refused.length > 0 && <p class="note">What a refused probe would count or report is missing. The log and <code>yagura doctor</code> say why it was refused.</p>}
        </Panel>
        <Panel title="Where else Yagura answers">
          <ul class="brief endpoints">{endpoints.map(([path, what]) => <li key={path}><a href={path}>/{path}</a><span class="what">{what}</span></li>)}</ul>
        </Panel>
      </div>
    </>
  );
}

function Bars({ rows, unit }: { rows: { name: string; value: number }[]; unit: string }) {
  const sorted = [...rows].sort((a, b) => b.value - a.value).slice(0, 12);
  const top = sorted[0]?.value || 1;
  return <ul class="bars">{sorted.map((r) => <li key={r.name}><span class="line"><span class="bar" style={{ width: `${(r.value / top) * 100}%` }} /><span class="what">{r.name}</span><b class="num">{format(r.value, unit)}</b></span></li>)}</ul>;
}
