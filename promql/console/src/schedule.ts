// One scheduler for all that a page asks again and again: nothing is asked while the page is hidden, a failure makes the next try
// wait longer, a request that is no longer wanted is aborted, and few run at once, so that a click is never behind a queue.

export interface Clock {
  now(): number;
  set(callback: () => void, ms: number): unknown;
  clear(timer: unknown): void;
}

interface Job {
  every: number;
  run: (signal: AbortSignal) => Promise<void>;
  due: number;
  failures: number;
  running?: AbortController;
}

const atOnce = 5;
const patience = 30_000;
const longest = 120_000;

export const realClock: Clock = {
  now: () => Date.now(),
  set: (callback, ms) => setTimeout(callback, ms),
  clear: (timer) => clearTimeout(timer as number),
};

export class Scheduler {
  private readonly jobs = new Set<Job>();
  private readonly clock: Clock;
  private timer: unknown;
  private paused = false;

  constructor(clock: Clock = realClock) {
    this.clock = clock;
  }

  /** add runs a job now and then every so many milliseconds, until the function that it returns is called. */
  add(every: number, run: (signal: AbortSignal) => Promise<void>): () => void {
    const job: Job = { every, run, due: this.clock.now(), failures: 0 };
    this.jobs.add(job);
    this.tick();
    return () => {
      this.jobs.delete(job);
      job.running?.abort();
      this.tick();
    };
  }

  /** now makes every job due, such as after the user asked for it. */
  now(): void {
    for (const job of this.jobs) {
      job.due = this.clock.now();
      job.failures = 0;
    }
    this.tick();
  }

  pause(): void {
    this.paused = true;
    this.clock.clear(this.timer);
  }

  resume(): void {
    this.paused = false;
    this.tick();
  }

  private tick(): void {
    this.clock.clear(this.timer);
    if (this.paused) return;
    const now = this.clock.now();
    const waiting = [...this.jobs].filter((job) => !job.running).sort((a, b) => a.due - b.due);
    let free = atOnce - (this.jobs.size - waiting.length);
    for (const job of waiting) {
      if (job.due > now || free <= 0) break;
      free--;
      void this.start(job);
    }
    const next = waiting.find((job) => !job.running);
    if (next && free > 0) this.timer = this.clock.set(() => this.tick(), Math.max(0, next.due - now));
  }

  private async start(job: Job): Promise<void> {
    const stop = new AbortController();
    job.running = stop;
    const late = this.clock.set(() => stop.abort(), patience);
    try {
      await job.run(stop.signal);
      job.failures = 0;
    } catch {
      job.failures++; // whoever added the job shows why
    }
    this.clock.clear(late);
    job.running = undefined;
    if (!this.jobs.has(job)) return this.tick();
    const wait = job.failures === 0 ? job.every : Math.min(Math.max(job.every, 2000) * 2 ** Math.min(job.failures - 1, 6), Math.max(longest, job.every));
    job.due = this.clock.now() + wait;
    this.tick();
  }
}
