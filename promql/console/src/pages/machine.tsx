import { get, type Page as Rows } from '../api.ts';
import { over } from '../ask.ts';
import { Graph } from '../chart.tsx';
import { format, humanize } from '../format.ts';
import { useLive } from '../live.ts';
import { type Column, Head, Nothing, Panel, RangePicker, Search, Shown, Table, useRange, When, WorkloadLink } from '../parts.tsx';
import { set } from '../route.ts';
import { nameOf, workloadOf } from '../series.ts';
import { useText } from './hits.tsx';

interface Process {
  pid: number;
  ppid: number;
  user: string;
  comm: string;
  command: string;
  state: string;
  threads: number;
  cpu_seconds: number;
  cpu_ratio: number;
  rss_bytes: number;
  open_descriptors: number;
  start_time: string;
  namespace: string;
  pod: string;
  container: string;
  unit: string;
}

interface Session {
  user: string;
  line: string;
  from: string;
  pid: number;
  login_time: string;
}

/** What is drawn of the machine: queries of the library, and what it means that they answer nothing. */
const graphs: { title: string; query: string; unit: string; empty?: string }[] = [
  { title: 'CPU by mode', query: 'node_cpu_by_mode', unit: 'cores' },
  { title: 'Memory', query: 'node_memory_parts', unit: 'bytes' },
  { title: 'Disks', query: 'node_disk_throughput', unit: 'bytes_per_second' },
  { title: 'Disk latency', query: 'node_disk_latency', unit: 'seconds', empty: 'No disk did anything in this time.' },
  { title: 'File systems', query: 'node_filesystem_used', unit: 'ratio' },
  { title: 'Network', query: 'node_network_throughput', unit: 'bytes_per_second' },
  { title: 'CPU pressure', query: 'node_cpu_pressure', unit: 'ratio', empty: 'This kernel does not tell pressure (PSI is off).' },
  { title: 'Memory pressure', query: 'node_memory_pressure', unit: 'ratio', empty: 'This kernel does not tell pressure (PSI is off).' },
  { title: 'I/O pressure', query: 'node_io_pressure', unit: 'ratio', empty: 'This kernel does not tell pressure (PSI is off).' },
];

const columns: Column<Process>[] = [
  { name: 'Process', cell: (p) => <span title={p.command}><b>{p.comm}</b> <small class="num">{p.pid}</small><br /><small class="cut">{p.command}</small></span>, sort: (p) => p.comm },
  { name: 'Workload', cell: (p) => <WorkloadLink of={workloadOf(p as unknown as Record<string, string>)} />, sort: (p) => nameOf(workloadOf(p as unknown as Record<string, string>)) },
  { name: 'User', cell: (p) => p.user, sort: (p) => p.user },
  { name: 'State', cell: (p) => p.state.replace('_', ' '), sort: (p) => p.state },
  { name: 'CPU', num: true, cell: (p) => format(p.cpu_ratio, 'ratio'), sort: (p) => p.cpu_ratio },
  { name: 'Memory', num: true, cell: (p) => format(p.rss_bytes, 'bytes'), sort: (p) => p.rss_bytes },
  { name: 'Threads', num: true, cell: (p) => humanize(p.threads), sort: (p) => p.threads },
  { name: 'Files', num: true, cell: (p) => humanize(p.open_descriptors), sort: (p) => p.open_descriptors },
  { name: 'Since', num: true, cell: (p) => <When at={p.start_time} />, sort: (p) => Date.parse(p.start_time) },
];

export function Machine() {
  const { text: range, seconds } = useRange();
  const [text, setText] = useText();
  const processes = useLive('processes', async (s) => (await get<Rows<Process>>('api/yagura/processes', { limit: 1000 }, s)).data, 5);
  const sessions = useLive('sessions', async (s) => (await get<Rows<Session>>('api/yagura/sessions', {}, s)).data, 30);
  const lives = graphs.map((g) => useLive(`${g.query} ${range}`, (s) => over(g.query, {}, seconds, s), 15));
  const zoom = (a: number, b: number) => set({ range: `${Math.max(60, Math.round(b - a))}s` }, true);
  const wanted = (p: Process) => `${p.comm} ${p.command} ${p.user} ${p.pid} ${nameOf(workloadOf(p as unknown as Record<string, string>))}`.toLowerCase().includes(text.toLowerCase());
  return (
    <>
      <Head title="Machine" note="Processors, memory, disks and network of the machine as a whole, and what runs on it.">
        <Search label="Find a process" value={text} onInput={setText} />
        <RangePicker />
      </Head>
      <div class="charts">
        {graphs.map((g, i) => {
          const live = lives[i];
          return live && <Panel key={g.query} title={g.title}><Graph live={live} unit={g.unit} label={g.title} sync="m" onZoom={zoom} empty={g.empty ?? 'Nothing is known of this. Where a node_exporter answers on this machine, Yagura leaves its series to it.'} /></Panel>;
        })}
      </div>
      <Panel title="Processes" wide>
        <Shown live={processes} empty={(all) => all.filter(wanted).length === 0 && <Nothing>{text ? 'No process is like that.' : 'No process is known yet.'}</Nothing>}>
          {(all) => <Table rows={all.filter(wanted)} columns={columns} by="-CPU" keyOf={(p) => String(p.pid)} label="Processes" most={40} />}
        </Shown>
      </Panel>
      <Panel title="Logged in" wide>
        <Shown live={sessions} empty={(all) => all.length === 0 && <Nothing>Nobody is logged in.</Nothing>}>
          {(all) => <ul class="brief">{all.map((s) => <li key={s.line + s.pid}><b>{s.user}</b><span class="what">{s.line} {s.from && `from ${s.from}`}</span><When at={s.login_time} /></li>)}</ul>}
        </Shown>
      </Panel>
    </>
  );
}
