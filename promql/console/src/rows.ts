// What Yagura's own API answers, and how news of it are fetched.
import { get, type Labels, type Page } from './api.ts';

export interface Hit {
  id: string;
  time: string;
  rule: string;
  priority: string;
  source: string;
  tags: string[];
  output: string;
  output_fields: Record<string, unknown>;
  workload: Labels;
  process?: string;
  ancestors: string[];
}

export interface FileState {
  type: string;
  mode: string;
  uid: number;
  gid: number;
  size: number;
  inode: number;
  modified: string;
  links: number;
  flags?: string[];
  xattrs?: string[];
  target?: string;
  sha256?: string;
  unreadable?: string;
}

export interface Change {
  id: string;
  time: string;
  path: string;
  from?: string;
  path_container?: string;
  kinds: string[];
  watches: string[];
  severity: string;
  actor: string;
  expected: boolean;
  why: string;
  workload: Labels;
  process?: { pid: number; exe: string; name: string; command: string[]; uid: number; euid: number; login_uid?: number; ancestors: string[] };
  confidence: string;
  before?: FileState;
  after?: FileState;
  diff?: string;
}

export interface Request {
  id: string;
  time: string;
  duration_seconds: number;
  workload: Labels;
  role: string;
  protocol: string;
  method?: string;
  name: string;
  path?: string;
  status: string;
  end: string;
  error_type: string;
  kinds: string[];
  trace_id?: string;
  peer?: string;
  pid: number;
  process?: string;
}

export interface Connection {
  namespace: string;
  pod: string;
  container: string;
  unit: string;
  role: string;
  protocol: string;
  local: string;
  remote: string;
  port: number;
  local_address: string;
  remote_address: string;
  tls: string;
  coverage: string;
  requests: number;
  failures: number;
  sent_bytes: number;
  received_bytes: number;
  born: string;
  process: { pid: number; name: string; command: string; uid: number; parent: string };
}

export interface Verdict {
  check: string;
  framework: string;
  control: string;
  status: string;
  severity: string;
  title: string;
  time: string;
  reason?: string;
  risk: string;
  remediation: string;
  references: string[];
  failing: number;
  waived: number;
  objects: { subject: string; source?: string; fact?: Record<string, unknown>; expected?: string; error?: string }[];
}

/** What a page of news keeps at most. */
export const mostKept = 1000;

/** merge puts newer rows before those that are known; what is in both is taken from the newer. Rows are the latest first. */
export function merge<T extends { id: string; time: string }>(known: T[], newer: T[]): T[] {
  const ids = new Set(newer.map((row) => row.id));
  return [...newer, ...known.filter((row) => !ids.has(row.id))].sort((a, b) => Date.parse(b.time) - Date.parse(a.time)).slice(0, mostKept);
}

/** Feed is an endpoint of which only what is new is asked for, once everything was. */
export class Feed<T extends { id: string; time: string }> {
  private readonly path: string;
  private readonly filters: Record<string, string>;
  private rows: T[] = [];

  constructor(path: string, filters: Record<string, string>) {
    this.path = path;
    this.filters = filters;
  }

  async read(signal: AbortSignal): Promise<T[]> {
    const newest = this.rows[0]?.time;
    let cursor: string | undefined;
    const fresh: T[] = [];
    do {
      const page: Page<T> = await get(this.path, { limit: newest ? 1000 : 300, ...this.filters, since: newest, cursor }, signal);
      fresh.push(...page.data);
      cursor = newest ? page.next || undefined : undefined;
    } while (cursor && fresh.length < mostKept);
    this.rows = merge(this.rows, fresh);
    return this.rows;
  }
}

// Feeds outlive the page that shows them, so that one who comes back does not read everything again.
const feeds = new Map<string, Feed<Hit> | Feed<Change>>();

export function feed<T extends Hit | Change>(path: string, filters: Record<string, string>): Feed<T> {
  const key = JSON.stringify([path, filters]);
  let known = feeds.get(key) as Feed<T> | undefined;
  if (!known) {
    if (feeds.size > 20) feeds.clear();
    known = new Feed<T>(path, filters);
    feeds.set(key, known as unknown as Feed<Hit>);
  }
  return known;
}
