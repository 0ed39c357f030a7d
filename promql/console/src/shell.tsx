// What is around every page: the way to the others, the theme, the keys.
import type { ComponentType } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, prom } from './api.ts';
import { first } from './ask.ts';
import { connection, scheduler, useLive } from './live.ts';
import { Icon, usual, Waiting } from './parts.tsx';
import { go, href, useRoute } from './route.ts';
import { Agent } from './pages/agent.tsx';
import { Alerts } from './pages/alerts.tsx';
import { Fim } from './pages/fim.tsx';
import { Hits } from './pages/hits.tsx';
import { Machine } from './pages/machine.tsx';
import { Overview } from './pages/overview.tsx';
import { Posture } from './pages/posture.tsx';
import { Services } from './pages/services.tsx';
import { Targets } from './pages/targets.tsx';

interface Place {
  page: string;
  name: string;
  key: string;
  icon: string;
  load: () => Promise<ComponentType> | ComponentType;
}

/** All pages, in the order of the menu; the key follows g. */
const places: Place[] = [
  { page: '', name: 'Overview', key: 'o', icon: 'M3 9l7-6 7 6M5 8v9h10V8M8 17v-5h4v5', load: () => Overview },
  { page: 'machine', name: 'Machine', key: 'm', icon: 'M3 4h14v5H3zM3 11h14v5H3zM6 6.500h.1M6 13.500h.1M10 6.500h4M10 13.500h4', load: () => Machine },
  { page: 'services', name: 'Services', key: 's', icon: 'M4 5h12M4 10h12M4 15h12M7 3v4M13 8v4M9 13v4', load: () => Services },
  { page: 'hits', name: 'Hits', key: 'h', icon: 'M10 2.500l6.500 2.500v4.500c0 4-2.700 6.700-6.500 8-3.800-1.300-6.500-4-6.500-8V5zM10 7v4M10 13.500v.1', load: () => Hits },
  { page: 'fim', name: 'Files', key: 'f', icon: 'M5 2.500h6.500L15.500 6.500v11H5zM11.500 2.500v4h4M7.500 11h5M7.500 14h5', load: () => Fim },
  { page: 'posture', name: 'Posture', key: 'p', icon: 'M3 5.500l1.500 1.500L7 4M3 11.500L4.500 13 7 10M10 6h7M10 12h7M10 17h7M3.500 17h2', load: () => Posture },
  { page: 'alerts', name: 'Alerts', key: 'a', icon: 'M10 2.500a5 5 0 0 1 5 5V11l2 3.500H3L5 11V7.500a5 5 0 0 1 5-5zM8 17h4', load: () => Alerts },
  { page: 'targets', name: 'Targets', key: 't', icon: 'M10 3a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM10 7a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM10 1v4M10 15v4M1 10h4M15 10h4', load: () => Targets },
  { page: 'agent', name: 'Agent', key: 'y', icon: 'M6 6h8v8H6zM8 2.500V6M12 2.500V6M8 14v3.500M12 14v3.500M2.500 8H6M2.500 12H6M14 8h3.500M14 12h3.500', load: () => Agent },
  { page: 'explore', name: 'Explore', key: 'e', icon: 'M3 16.500V3.500M3 16.500h14M5.500 13l3.500-4.500 3 2.500 4.500-6', load: async () => (await import('./pages/explore.tsx')).Explore },
];

const themes = ['auto', 'light', 'dark'] as const;
type Theme = (typeof themes)[number];
const themeNames: Record<Theme, string> = { auto: 'as the system', light: 'light', dark: 'dark' };

export function applyTheme(theme: string | null): void {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  window.dispatchEvent(new Event('themechange'));
}

function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(() => {
    const kept = localStorage.getItem('theme');
    return kept === 'light' || kept === 'dark' ? kept : 'auto';
  });
  return [theme, () => {
    const next = themes[(themes.indexOf(theme) + 1) % themes.length] ?? 'auto';
    localStorage.setItem('theme', next);
    applyTheme(next);
    setTheme(next);
  }];
}

/** typing says whether a key belongs to what somebody types, wherever in shadow trees that is. */
function typing(event: KeyboardEvent): boolean {
  const target = event.composedPath()[0];
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

function moveRow(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('main [data-row]')].filter((row) => row.offsetParent !== null);
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const to = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  to?.focus();
}

function useKeys(help: () => void): void {
  useEffect(() => {
    let wentG = 0;
    const pressed = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (typing(event)) {
        if (event.key === 'Escape' && !event.defaultPrevented) (document.activeElement as HTMLElement | null)?.blur();
        return;
      }
      if (document.querySelector('dialog[open]')) return;
      const place = Date.now() - wentG < 1500 ? places.find((p) => p.key === event.key) : undefined;
      wentG = 0;
      if (place) {
        go(place.page);
        event.preventDefault();
        return;
      }
      switch (event.key) {
        case 'g':
          wentG = Date.now();
          return;
        case '/':
          document.querySelector<HTMLElement>('main [data-search]')?.focus();
          break;
        case '?':
          help();
          break;
        case 'j':
          moveRow(1);
          break;
        case 'k':
          moveRow(-1);
          break;
        case 'r':
          scheduler.now();
          break;
        default:
          return;
      }
      event.preventDefault();
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
}

function Help({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const keys: [string, string][] = [
    ...places.map((p): [string, string] => [`g ${p.key}`, p.name]),
    ['/', 'search, or the expression'], ['j k', 'next and previous row'], ['Enter', 'open the row'], ['r', 'read everything anew'],
    ['Ctrl Enter', 'run the expression'], ['Esc', 'leave a field'], ['?', 'this list'],
  ];
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close} onClick={(e) => e.target === e.currentTarget && close()}>
      <h2 id="help-title">Keys</h2>
      <dl>{keys.map(([k, what]) => <div key={k}><dt>{k.split(' ').map((one) => <kbd key={one}>{one}</kbd>)}</dt><dd>{what}</dd></div>)}</dl>
      <button type="button" onClick={close}>Close</button>
    </dialog>
  );
}

function useConnection(): boolean {
  const [ok, setOk] = useState(true);
  useEffect(() => {
    const changed = () => setOk(connection.failed === 0);
    connection.listeners.add(changed);
    return () => void connection.listeners.delete(changed);
  }, []);
  return ok;
}

function Page({ page }: { page: string }) {
  const [loaded, setLoaded] = useState<{ page: string; View?: ComponentType; failed?: string }>({ page: '', View: Overview });
  useEffect(() => {
    let current = true;
    const place = places.find((p) => p.page === page);
    if (!place) {
      setLoaded({ page, failed: 'There is no such page.' });
      return;
    }
    const view = place.load();
    if (!(view instanceof Promise)) {
      setLoaded({ page, View: view });
      return;
    }
    view.then(
      (View) => current && setLoaded({ page, View }),
      () => current && setLoaded({ page, failed: 'This part of the console could not be loaded. Is Yagura running, and still of the same version? Reload the page.' }),
    );
    return () => {
      current = false;
    };
  }, [page]);
  if (loaded.page !== page) return <Waiting />;
  if (loaded.failed || !loaded.View) return <p class="state trouble" role="alert">{loaded.failed} <a href={href('')}>To the overview</a></p>;
  return <loaded.View />;
}

export function Shell() {
  const { page } = useRoute();
  const [menu, setMenu] = useState(false);
  const [help, setHelp] = useState(false);
  const [theme, turnTheme] = useTheme();
  const ok = useConnection();
  useKeys(() => setHelp(true));
  useEffect(() => {
    setMenu(false);
    window.scrollTo(0, 0);
  }, [page]);
  const alerts = useLive('firing', async (signal) => (await prom<{ alerts: { state: string; labels: Record<string, string> }[] }>('alerts', {}, signal)).data.alerts
    .filter((a) => a.state === 'firing' && a.labels.severity !== 'none').length, 30);
  const hosts = useLive('host', async (signal) => {
    const labels = await get<{ data: string[] }>('api/v1/label/instance/values', { 'match[]': 'up{job="yagura"}' }, signal);
    return labels.data[0] ?? location.hostname;
  }, 0);
  useLive('age of the store', async (signal) => {
    const oldest = await first('store_oldest', {}, signal);
    if (oldest === undefined || oldest > 1800) return;
    usual.range = oldest > 240 ? '15m' : '5m';
    window.dispatchEvent(new HashChangeEvent('hashchange')); // pages look again
  }, 0);
  const here = places.find((p) => p.page === page);
  return (
    <>
      <button type="button" class="skip" onClick={() => document.querySelector<HTMLElement>('main h1, main')?.focus()}>Skip to the page</button>
      <header class="side" data-menu={menu ? 'open' : undefined}>
        <div class="brand">
          <a href={href('')} aria-label="Yagura, overview">
            <svg viewBox="0 0 32 32" aria-hidden="true"><path d="M4 12c5-.7 9-3 12-7 3 4 7 6.300 12 7M8.500 12v5.500h15V12M11 17.500 8 28M21 17.500 24 28M10 22.500h12" /><circle cx="16" cy="14.300" r="1.800" /></svg>
            <span>Yagura</span>
          </a>
          <span class="host" title="the machine that is watched">{hosts.data ?? ''}</span>
          <span class="here" aria-hidden="true">{here?.name}</span>
          <button type="button" class="menu" aria-expanded={menu} aria-controls="menu" onClick={() => setMenu(!menu)}><Icon d="M3 5.500h14M3 10h14M3 14.500h14" />Menu</button>
        </div>
        <nav id="menu" aria-label="Pages">
          <ul>
            {places.map((p) => (
              <li key={p.page}>
                <a href={href(p.page)} aria-current={p.page === page ? 'page' : undefined} title={`g ${p.key}`} onClick={() => setMenu(false)}>
                  <Icon d={p.icon} />{p.name}
                  {p.page === 'alerts' && !!alerts.data && <span class="count" title="alerts that fire">{alerts.data}</span>}
                </a>
              </li>
            ))}
          </ul>
          <div class="foot">
            <button type="button" class="plain" onClick={turnTheme} aria-label={`Theme: ${themeNames[theme]}. Change it`}>Theme: {themeNames[theme]}</button>
            <button type="button" class="plain" onClick={() => setHelp(true)}>Keys <kbd>?</kbd></button>
            <a href="metrics">/metrics</a>
          </div>
        </nav>
      </header>
      <main tabIndex={-1}>
        {!ok && <p class="offline" role="alert">Yagura does not answer. What is shown is what was last known; this page asks again by itself.</p>}
        <Page page={page} />
      </main>
      <Help open={help} close={() => setHelp(false)} />
    </>
  );
}
