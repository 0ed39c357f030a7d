// Where one is stands after the # of the address, so that every view can be shared as a link and the server has one page.
import { useEffect, useState } from 'preact/hooks';

export interface Route {
  page: string;
  params: Record<string, string>;
}

export function parseRoute(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  return { page: path.replace(/\/+$/, ''), params: Object.fromEntries(new URLSearchParams(search)) };
}

/** href is the address of a page; parameters that are empty are left out. */
export function href(page: string, params: Record<string, string | undefined> = {}): string {
  const given = Object.entries(params).filter((e): e is [string, string] => e[1] !== undefined && e[1] !== '');
  const search = new URLSearchParams(given).toString();
  return `#/${page}${search && `?${search}`}`;
}

export function go(page: string, params: Record<string, string | undefined> = {}): void {
  location.hash = href(page, params);
}

/** set changes parameters of the page that is shown; it adds no step to go back to, unless asked. */
export function set(changes: Record<string, string | undefined>, step = false): void {
  const { page, params } = parseRoute(location.hash);
  const to = href(page, { ...params, ...changes });
  if (to === location.hash) return;
  if (step) location.hash = to;
  else {
    history.replaceState(null, '', to);
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    window.addEventListener('hashchange', changed);
    return () => window.removeEventListener('hashchange', changed);
  }, []);
  return route;
}
