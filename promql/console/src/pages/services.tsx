import { useState } from 'preact/hooks';
import { every, get, type Page as Rows } from '../api.ts';
import { ask, over } from '../ask.ts';
import { format, humanize } from '../format.ts';
import { Graph } from '../chart.tsx';
import { useLive } from '../live.ts';
import { Badge, Chips, type Column, explore, Facts, Head, levelOf, List, Meter, Nothing, Panel, Pick, RangePicker, Row, Search, Shown, Spark, Table, useRange, When, WorkloadLink } from '../parts.tsx';
import { href, set, useRoute } from '../route.ts';
import type { Change, Connection, Hit, Request, Verdict } from '../rows.ts';
import { exactly, nameOf, type Workload, workloadOf } from '../series.ts';
import { type Service, serviceKey, services } from '../services.ts';
import { ChangeRow } from './fim.tsx';
import { HitRow } from './hits.tsx';

export function Services() {
  const { params } = useRoute();
  return params.show ? <Detail of={workloadOf(params)} /> : <All />;
}

const unique = (values: string[]) => [...new Set(values)].sort();

function All() {
  const { params } = useRoute();
  const { text: range, seconds } = useRange();
  const [text, setText] = useState(params.q ?? '');
  const rows = useLive('services 5m', (s) => services(s));
  const past = useLive(`service rates ${range}`, async (s) => {
    const r = await over('console_service_requests', {}, seconds, s, 60);
    const n = Math.round((r.span.end - r.span.start) / r.span.step) + 1;
    return new Map(r.series.map((one) => {
      const values = new Array<number | null>(n).fill(null);
      for (const [t, v] of one.points) values[Math.round((t - r.span.start) / r.span.step)] = v;
      return [serviceKey(one.labels), values];
    }));
  }, 30);
  const edges = useEdges();
  const columns: Column<Service>[] = [
    { name: 'Service', cell: (r) => <WorkloadLink of={r.workload} />, sort: (r) => r.name },
    { name: 'Protocol', cell: (r) => <>{r.protocol} <small>{r.role}</small></>, sort: (r) => `${r.protocol} ${r.role}` },
    { name: 'Requests', num: true, cell: (r) => <span class="with"><Spark values={past.data?.get(r.key) ?? []} label={`requests of ${r.name} over ${range}`} />{format(r.rate, 'requests_per_second')}</span>, sort: (r) => r.rate },
    { name: 'Errors', num: true, cell: (r) => <span class={r.errors > 0.05 ? 'crit' : r.errors > 0.01 ? 'warn' : ''}>{r.errors > 0 ? format(r.errors, 'ratio') : '–'}</span>, sort: (r) => r.errors },
    { name: 'p50', num: true, cell: (r) => format(r.p50, 'seconds'), sort: (r) => r.p50 },
    { name: 'p95', num: true, cell: (r) => format(r.p95, 'seconds'), sort: (r) => r.p95 },
    { name: 'p99', num: true, cell: (r) => format(r.p99, 'seconds'), sort: (r) => r.p99 },
    { name: 'Lacks most', cell: (r) => r.lack && <span class="with"><Meter ratio={r.lack.ratio} label={r.lack.resource} /><span>{r.lack.resource.replace('_', ' ')} <span class="num">{format(r.lack.ratio, 'ratio')}</span></span></span>, sort: (r) => r.lack?.ratio ?? 0 },
  ];
  const wanted = (r: Service) => (!params.role || r.role === params.role) && (!params.protocol || r.protocol === params.protocol) && `${r.name} ${r.protocol} ${r.role}`.toLowerCase().includes(text.toLowerCase());
  const protocols = unique((rows.data ?? []).map((r) => r.protocol));
  return (
    <>
      <Head title="Services" note="Who answers and who asks, as the kernel sees it: rates and errors of the last 5 minutes.">
        <Search label="Find a service" value={text} onInput={(q) => { setText(q); set({ q }); }} />
        <Pick label="Role" value={params.role ?? ''} options={[['', 'any'], ['server', 'server'], ['client', 'client']]} onPick={(role) => set({ role })} />
        <Pick label="Protocol" value={params.protocol ?? ''} options={[['', 'any'], ...protocols.map((p): [string, string] => [p, p])]} onPick={(protocol) => set({ protocol })} />
        <RangePicker />
      </Head>
      <Panel title="Workloads" wide>
        <Shown live={rows} empty={(all) => all.filter(wanted).length === 0 && <Nothing>{all.length === 0 ? 'No request was seen within 5 minutes. The page of the agent tells what of a process cannot be read (TLS, io_uring).' : 'No service is like that.'}</Nothing>}>
          {(all) => <Table rows={all.filter(wanted)} columns={columns} by="-Requests" keyOf={(r) => r.key} label="Services" />}
        </Shown>
      </Panel>
      <Panel title="Who calls whom" wide>
        <Shown live={edges} empty={(all) => all.length === 0 && <Nothing>Nobody called anybody within 5 minutes.</Nothing>}>
          {(all) => <Edges rows={all} known={rows.data ?? []} />}
        </Shown>
      </Panel>
    </>
  );
}

interface Edge {
  key: string;
  client: string;
  server: string;
  protocol: string;
  rate: number;
  errors: number;
}

/** useEdges is who calls whom now. */
function useEdges() {
  return useLive('edges', async (s): Promise<Edge[]> => {
    const [rates, errors] = await Promise.all([ask('console_edges', {}, s), ask('console_edge_errors', {}, s)]);
    const key = (l: Record<string, string>) => `${l.client} ${l.server} ${l.protocol}`;
    const failing = new Map(errors.map((e) => [key(e.labels), e.value]));
    return rates.filter((r) => r.value > 0).map((r) => ({ key: key(r.labels), client: r.labels.client ?? '', server: r.labels.server ?? '', protocol: r.labels.protocol ?? '', rate: r.value, errors: (failing.get(key(r.labels)) ?? 0) / r.value }));
  }, 30);
}

function Edges({ rows, known }: { rows: Edge[]; known: Service[] }) {
  const link = (name: string) => {
    const service = known.find((s) => s.name === name);
    return service ? <WorkloadLink of={service.workload} /> : name;
  };
  return (
    <Table rows={rows} by="-Requests" keyOf={(e) => e.key} label="Calls between services" most={60} columns={[
      { name: 'Client', cell: (e) => link(e.client), sort: (e) => e.client },
      { name: 'Server', cell: (e) => <><span class="arrow" aria-hidden="true">→ </span>{link(e.server)}</>, sort: (e) => e.server },
      { name: 'Protocol', cell: (e) => e.protocol, sort: (e) => e.protocol },
      { name: 'Requests', num: true, cell: (e) => format(e.rate, 'requests_per_second'), sort: (e) => e.rate },
      { name: 'Errors', num: true, cell: (e) => <span class={e.errors > 0.05 ? 'crit' : e.errors > 0.01 ? 'warn' : ''}>{e.errors > 0 ? format(e.errors, 'ratio') : '–'}</span>, sort: (e) => e.errors },
    ]} />
  );
}

function Detail({ of }: { of: Workload }) {
  const { text: range, seconds } = useRange();
  const name = nameOf(of);
  const values = Object.fromEntries(Object.entries(of).map(([label, value]) => [label, exactly(value)]));
  const key = `${name} ${range}`;
  const graph = (query: string, more: Record<string, string> = {}) => useLive(`${query} ${key}`, (s) => over(query, { ...values, ...more }, seconds, s), 15);
  const requests = graph('console_workload_requests');
  const errors = graph('console_workload_errors');
  const latency = useLive(`latency ${key}`, async (s) => {
    const all = await Promise.all(['0.5', '0.95', '0.99'].map((q) => over('console_workload_latency', { ...values, q }, seconds, s)));
    const several = (all[0]?.series.length ?? 0) > 1;
    const named = all.flatMap((r, i) => r.series.map((one) => ({ one, label: `p${['50', '95', '99'][i]}${several ? ` ${one.labels.protocol} ${one.labels.role}` : ''}` })));
    return { span: all[0]?.span ?? { start: 0, end: 1, step: 1 }, series: named.map((n) => n.one), labels: named.map((n) => n.label) };
  });
  const cpu = graph('workload_cpu');
  const memory = useLive(`memory ${key}`, async (s) => {
    const [used, limit] = await Promise.all([over('workload_memory', values, seconds, s), over('workload_memory_limit', values, seconds, s)]);
    return { span: used.span, series: [...used.series, ...limit.series], labels: [...used.series.map(() => 'working set'), ...limit.series.map(() => 'limit')] };
  });
  const network = graph('workload_network_bytes');
  const saturation = graph('workload_saturation');
  const queue = graph('workload_run_queue_latency');
  const blocks = graph('workload_block_bytes');
  const filter = { namespace: of.namespace, pod: of.pod, container: of.container, unit: of.unit };
  const search = new URLSearchParams(filter).toString();
  const rows = <T,>(path: string, every = 10) => useLive(`${path} ${name}`, async (s) => (await get<Rows<T>>(`api/yagura/${path}?${search}`, {}, s)).data, every);
  const samples = rows<Request>('requests');
  const connections = rows<Connection>('connections');
  const hits = rows<Hit>('hits');
  const changes = rows<Change>('fim');
  const counts = useLive(`hit counts ${key}`, (s) => ask('workload_rule_hits', { ...values, window: range }, s), 30);
  const info = useLive(`info ${name}`, (s) => ask('workload_info', values, s), 60);
  const failing = useLive('failing checks', (s) => every<Verdict>('api/yagura/posture', { status: 'fail' }, s), 120);
  const about = (v: Verdict) => v.objects.filter((o) => [of.container, of.unit].some((part) => part && o.subject.includes(part)));
  const checks = failing.data?.filter((v, i, all) => all.findIndex((o) => o.check === v.check) === i && about(v).length > 0);
  const span = (a: number, b: number) => set({ range: `${Math.max(60, Math.round(b - a))}s` }, true);
  const host = name === 'host';
  const edges = useEdges();
  const others = useLive('services 5m', (s) => services(s));
  const mine = (e: Edge) => e.client === name || e.server === name;
  return (
    <>
      <Head title={name} one note={<><a href={href('services')}>Services</a> {info.data?.[0] && <Chips labels={info.data[0].labels} leave={['__name__', 'job', 'instance', 'namespace', 'pod', 'container', 'unit', 'container_id', 'image_id', 'sandbox_id', 'pod_uid']} />}{host && ' What runs in no container and no unit of systemd.'}</>}>
        <RangePicker />
      </Head>
      <div class="charts">
        <Panel title="Requests" id="requests"><Graph live={requests} unit="requests_per_second" label="Requests" sync="w" onZoom={span} empty="No request was seen in this time." /></Panel>
        <Panel title="Failing requests"><Graph live={errors} unit="requests_per_second" label="Failing requests" sync="w" onZoom={span} empty="No request failed in this time." /></Panel>
        <Panel title="Latency"><Graph live={latency} unit="seconds" label="Latency" sync="w" onZoom={span} empty="No request was seen in this time." /></Panel>
        <Panel title="CPU"><Graph live={cpu} unit="cores" label="CPU" sync="w" onZoom={span} empty={host ? 'The host as a workload has no control group of its own; the machine as a whole is on the overview.' : 'Its control group shows no CPU time.'} /></Panel>
        <Panel title="Memory"><Graph live={memory} unit="bytes" label="Memory" sync="w" onZoom={span} empty={host ? 'The host as a workload has no control group of its own; the machine as a whole is on the overview.' : 'Its control group shows no memory.'} /></Panel>
        <Panel title="Network"><Graph live={network} unit="bytes_per_second" label="Network" sync="w" onZoom={span} empty="Nothing was sent or received in this time." /></Panel>
        <Panel title="Saturation"><Graph live={saturation} unit="ratio" label="Saturation" sync="w" onZoom={span} empty="It is not known what it lacks." /></Panel>
        <Panel title="Wait for a processor"><Graph live={queue} unit="seconds" label="Wait for a processor" sync="w" onZoom={span} empty="None of its threads waited in this time." /></Panel>
        <Panel title="Disk"><Graph live={blocks} unit="bytes_per_second" label="Disk" sync="w" onZoom={span} empty="It read and wrote nothing in this time." /></Panel>
      </div>
      <Panel title="Whom it calls, and who calls it" wide>
        <Shown live={edges} empty={(all) => all.filter(mine).length === 0 && <Nothing>It called nobody within 5 minutes, and nobody called it.</Nothing>}>
          {(all) => <Edges rows={all.filter(mine)} known={others.data ?? []} />}
        </Shown>
      </Panel>
      <Panel title="Slow and failed requests" wide>
        <Shown live={samples} empty={(all) => all.length === 0 && <Nothing>None was kept. Slow ones (requests.slow) and failed ones are kept as they happen.</Nothing>}>
          {(all) => <Samples rows={all} />}
        </Shown>
      </Panel>
      <Panel title="Connections now" wide>
        <Shown live={connections} empty={(all) => all.length === 0 && <Nothing>It holds no connection that was seen.</Nothing>}>
          {(all) => <Connections rows={all} />}
        </Shown>
      </Panel>
      <Panel title="Rule hits" to={href('hits', filter)} wide aside={counts.data && counts.data.length > 0 ? `${humanize(Math.round(counts.data.reduce((n, s) => n + s.value, 0)))} in ${range}` : undefined}>
        <Shown live={hits} empty={(all) => all.length === 0 && <Nothing>No rule matched what it did.</Nothing>}>
          {(all) => <List rows={all} most={12}>{(h) => <HitRow key={h.id} hit={h} />}</List>}
        </Shown>
      </Panel>
      <Panel title="File changes that it made" to={href('fim', filter)} wide>
        <Shown live={changes} empty={(all) => all.length === 0 && <Nothing>It changed no watched file.</Nothing>}>
          {(all) => <List rows={all} most={12}>{(c) => <ChangeRow key={c.id} change={c} />}</List>}
        </Shown>
      </Panel>
      {!host && (
        <Panel title="Posture" to={href('posture')} wide>
          <Shown live={failing} empty={() => checks?.length === 0 && <Nothing>No check fails for it by name.</Nothing>}>
            {() => <div class="list">{checks?.map((v) => <Row key={v.check} level={levelOf(v.severity)} head={<><Badge>{v.severity}</Badge><span class="what">{v.title}</span></>}>{() => <><p>{v.risk}</p><pre tabIndex={0}>{v.remediation}</pre></>}</Row>)}</div>}
          </Shown>
        </Panel>
      )}
      <p class="note"><a href={explore(`{namespace="${of.namespace}", pod="${of.pod}", container="${of.container}", unit="${of.unit}", __name__=~"yagura_.*"}`)}>All series of this workload</a></p>
    </>
  );
}

function Samples({ rows }: { rows: Request[] }) {
  return (
    <List rows={rows} most={12}>
      {(r) => (
        <Row key={r.id} level={r.error_type ? 'warn' : undefined} head={
          <>
            <When at={r.time} />
            <Badge level={r.error_type ? 'crit' : r.kinds.includes('slow') ? 'warn' : 'off'}>{r.error_type || (r.kinds.includes('slow') ? 'slow' : r.status || 'ok')}</Badge>
            <span class="what"><code>{[r.method, r.name || r.path].filter(Boolean).join(' ') || r.protocol}</code> {r.role === 'client' ? `to ${r.peer ?? 'somebody'}` : `from ${r.peer ?? 'somebody'}`}</span>
            <span class="num">{format(r.duration_seconds, 'seconds')}</span>
          </>
        }>
          {() => <Facts of={[['protocol', r.protocol], ['role', r.role], ['status', r.status], ['error', r.error_type], ['ended', r.end], ['path', r.path], ['peer', r.peer], ['process', r.process && `${r.process} (${r.pid})`], ['trace', r.trace_id], ['kept as', r.kinds.join(', ')], ['id', r.id], ['at', r.time]]} />}
        </Row>
      )}
    </List>
  );
}

function Connections({ rows }: { rows: Connection[] }) {
  return (
    <Table rows={rows} by="-Requests" most={50} keyOf={(c) => `${c.local_address} ${c.remote_address} ${c.role}`} label="Connections" columns={[
      { name: 'Peer', cell: (c) => <>{c.role === 'client' ? '→ ' : '← '}{c.remote}<small> :{c.port}</small></>, sort: (c) => c.remote },
      { name: 'Protocol', cell: (c) => <>{c.protocol || 'tcp'} {c.tls && <small>TLS {c.tls}</small>}</>, sort: (c) => c.protocol },
      { name: 'Process', cell: (c) => <span title={c.process.command}>{c.process.name || '–'} <small>{c.process.pid}</small></span>, sort: (c) => c.process.name },
      { name: 'Requests', num: true, cell: (c) => humanize(c.requests), sort: (c) => c.requests },
      { name: 'Failed', num: true, cell: (c) => (c.failures > 0 ? humanize(c.failures) : '–'), sort: (c) => c.failures },
      { name: 'Sent', num: true, cell: (c) => format(c.sent_bytes, 'bytes'), sort: (c) => c.sent_bytes },
      { name: 'Received', num: true, cell: (c) => format(c.received_bytes, 'bytes'), sort: (c) => c.received_bytes },
      { name: 'Since', num: true, cell: (c) => <When at={c.born} />, sort: (c) => Date.parse(c.born) },
    ]} />
  );
}
