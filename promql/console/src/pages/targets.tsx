import { prom } from '../api.ts';
import { format, plural } from '../format.ts';
import { useLive } from '../live.ts';
import { Badge, Chips, type Column, explore, Head, Nothing, Panel, Search, Shown, Table, When } from '../parts.tsx';
import { useText } from './hits.tsx';

interface Target {
  labels: Record<string, string>;
  discoveredLabels: Record<string, string>;
  scrapePool: string;
  scrapeUrl: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  health: string;
  scrapeInterval: string;
  scrapeTimeout: string;
}

const columns: Column<Target>[] = [
  { name: 'Target', cell: (t) => <><a href={explore(`{${['job', 'instance'].map((l) => `${l}=${JSON.stringify(t.labels[l] ?? '')}`).join(', ')}}`)}>{t.labels.instance ?? t.scrapeUrl}</a><br /><small>{t.scrapeUrl.replace(/^http:\/\/yagura\.invalid\//, 'this program: /')}</small></>, sort: (t) => t.labels.instance ?? '' },
  { name: 'Health', cell: (t) => <Badge>{t.health}</Badge>, sort: (t) => t.health },
  { name: 'Labels', cell: (t) => <Chips labels={t.labels} leave={['instance']} /> },
  { name: 'Scraped', num: true, cell: (t) => (Date.parse(t.lastScrape) > 0 ? <When at={t.lastScrape} /> : 'never'), sort: (t) => Date.parse(t.lastScrape) },
  { name: 'Took', num: true, cell: (t) => format(t.lastScrapeDuration, 'seconds'), sort: (t) => t.lastScrapeDuration },
  { name: 'Every', num: true, cell: (t) => t.scrapeInterval },
  { name: 'Error', cell: (t) => t.lastError && <span class="crit">{t.lastError}</span> },
];

export function Targets() {
  const [text, setText] = useText();
  const live = useLive('targets', async (s) => (await prom<{ activeTargets: Target[]; droppedTargetCounts?: Record<string, number> }>('targets', {}, s)).data, 10);
  return (
    <>
      <Head title="Targets" note="What the store scrapes: this program, and what the configuration names.">
        <Search label="Find a target" value={text} onInput={setText} />
      </Head>
      <Shown live={live} empty={(d) => d.activeTargets.length === 0 && <Nothing>Nothing is scraped.</Nothing>}>
        {(d) => {
          const found = d.activeTargets.filter((t) => JSON.stringify([t.labels, t.scrapeUrl, t.lastError]).toLowerCase().includes(text.toLowerCase()));
          const pools = [...new Set(found.map((t) => t.scrapePool))].sort();
          if (found.length === 0) return <Nothing>No target is like that.</Nothing>;
          return pools.map((pool) => {
            const mine = found.filter((t) => t.scrapePool === pool);
            const down = mine.filter((t) => t.health === 'down').length;
            const dropped = d.droppedTargetCounts?.[pool] ?? 0;
            return (
              <Panel key={pool} title={pool} wide aside={<>{down > 0 ? <b class="crit">{down} of {plural(mine.length, 'target')} down</b> : `${plural(mine.length, 'target')} up`}{dropped > 0 && `, ${dropped} dropped by relabelling`}</>}>
                <Table rows={mine} columns={columns} by="Health" keyOf={(t) => t.scrapeUrl + JSON.stringify(t.labels)} label={`Targets of ${pool}`} />
              </Panel>
            );
          });
        }}
      </Shown>
    </>
  );
}
