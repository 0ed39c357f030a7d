import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { Failure } from './api.ts';
import { Scheduler } from './schedule.ts';

/** The one scheduler of the page. */
export const scheduler = new Scheduler();

document.addEventListener('visibilitychange', () => (document.hidden ? scheduler.pause() : scheduler.resume()));

/** What is known of something that is asked again and again. After a failure the last data stay, with the failure beside them. */
export interface Live<T> {
  data?: T;
  error?: Failure;
  at?: number;
  retry: () => void;
}

// What was last known, so that a page that one comes back to shows something at once.
const remembered = new Map<string, { data: unknown; at: number }>();
const mostRemembered = 60;

function remember(key: string, data: unknown, at: number): void {
  remembered.delete(key);
  remembered.set(key, { data, at });
  for (const oldest of remembered.keys()) {
    if (remembered.size <= mostRemembered) break;
    remembered.delete(oldest);
  }
}

/** Connection says whether the program answers, for the head of the page. */
export const connection = { failed: 0, listeners: new Set<() => void>() };

function tellConnection(ok: boolean): void {
  const before = connection.failed > 0;
  connection.failed = ok ? 0 : connection.failed + 1;
  if (before !== connection.failed > 0) for (const listener of connection.listeners) listener();
}

function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof DOMException) return new Failure('unreachable', '', 'Yagura did not answer within 30 seconds.');
  return new Failure('failed', '', error instanceof Error ? error.message : String(error));
}

/**
 * useLive loads something now and every so many seconds while the component is there. The key says what is loaded: with another one
 * the former request is aborted. 0 seconds means once.
 */
export function useLive<T>(key: string, load: (signal: AbortSignal) => Promise<T>, seconds = 15): Live<T> {
  const known = remembered.get(key) as { data: T; at: number } | undefined;
  const [state, setState] = useState<{ key: string; data?: T; error?: Failure; at?: number }>({ key, ...known });
  const [tries, setTries] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    let current = true;
    const stop = scheduler.add(seconds > 0 ? seconds * 1000 : 1e9, async (signal) => {
      try {
        const data = await latest.current(signal);
        tellConnection(true);
        if (!current) return;
        remember(key, data, Date.now());
        setState({ key, data, at: Date.now() });
      } catch (error) {
        const failure = failureOf(error);
        tellConnection(failure.kind !== 'unreachable');
        if (current) setState((s) => (s.key === key ? { ...s, error: failure } : { key, error: failure }));
        throw error;
      }
    });
    return () => {
      current = false;
      stop();
    };
  }, [key, seconds, tries]);
  const retry = useCallback(() => setTries((n) => n + 1), []);
  if (state.key !== key) return { ...known, retry };
  return { ...state, retry };
}
